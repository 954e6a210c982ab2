"""open-iscsi's node database as files: which records exist, and what ours says.

iscsiadm makes the record; its settings are then written into the file, because
``iscsiadm -o update`` takes values only on its command line, where a secret
would show, and because iscsiadm silently writes defaults when iscsid is busy.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from . import errors
from .lun import Portal

# 2.1.8 and Debian use /etc/iscsi, upstream since 2.1.9 /var/lib/iscsi.
ROOTS = (Path("/etc/iscsi"), Path("/var/lib/iscsi"))
LOCK = Path("/run/lock/iscsi/lock")
LOCK_SECONDS = 10
# iscsiadm polls at this interval too (usr/idbm.c, idbm_lock): the protocol has no event.
LOCK_POLL_SECONDS = 0.01


def records(target: str, portal: Portal, roots: tuple[Path, ...] = ROOTS) -> list[Path]:
    """Return the record files for `target` at `portal`, in both forms that iscsiadm writes.

    The form is ``nodes/IQN/IP,PORT`` without a target portal group tag, else
    ``nodes/IQN/IP,PORT,TPGT/IFACE`` (open-iscsi usr/idbm.c).
    """
    found: list[Path] = []
    for root in roots:
        folder = root / "nodes" / target
        old = folder / f"{portal.host},{portal.port}"
        if old.is_file():
            found.append(old)
        for tagged in sorted(folder.glob(f"{portal.host},{portal.port},*")):
            found.extend(sorted(path for path in tagged.glob("*") if path.is_file()))
    return found


def configure(record: Path, settings: Mapping[str, str]) -> None:
    """Set values in a node record, atomically and under open-iscsi's own lock.

    A later line wins over an earlier one (usr/idbm.c, idbm_recinfo_config), so
    settings are appended. Raises errors.Storage if the record cannot be
    written, errors.Timeout if the lock stays taken.
    """
    lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
    # Every file inside nodes/ is taken for a record, so the copy is made beside it.
    copy = _database(record) / f".kvmlun.{os.getpid()}"
    try:
        with _locked():
            text = record.read_text()
            head, end, tail = text.rpartition("# END RECORD")
            descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w") as file:
                file.write(head + lines + end + tail if end else text + lines)
                file.flush()
                os.fsync(file.fileno())
            copy.rename(record)
    except OSError as error:
        raise errors.Storage(f"cannot write node record {record}: {error.strerror}") from error


def _database(record: Path) -> Path:
    return next(parent.parent for parent in record.parents if parent.name == "nodes")


@contextlib.contextmanager
def _locked(lock: Path = LOCK, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold open-iscsi's lock: a link to a file, without an owner (usr/idbm.c, idbm_lock)."""
    lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock.touch(mode=0o600)
    held = lock.with_name(lock.name + ".write")
    deadline = time.monotonic() + seconds
    while True:
        try:
            os.link(lock, held)
            break
        except FileExistsError:
            if time.monotonic() > deadline:
                raise errors.Timeout(
                    f"{held} stayed taken for {seconds:.0f} s; if no iscsiadm runs, remove it"
                ) from None
            time.sleep(LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        held.unlink()
