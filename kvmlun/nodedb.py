"""open-iscsi's node database as files: which records exist, and what ours says.

Our records are written here and not by ``iscsiadm -o new``: values would show
on its command line, where a secret must not; it silently writes built-in
defaults while iscsid is busy; and a process more takes time while a VM waits.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from . import errors
from .lun import Portal

log = logging.getLogger("kvmlun.nodedb")

# Debian 12 uses the first; the second is upstream's default since 2.1.9.
ROOTS = (Path("/etc/iscsi"), Path("/var/lib/iscsi"))
PROGRAM = Path("/usr/sbin/iscsiadm")
DEFAULTS = Path("/etc/iscsi/iscsid.conf")
LOCK = Path("/run/lock/iscsi/lock")
LOCK_SECONDS = 10
# A lock is held for milliseconds; one of this age whose holder is gone stays for ever.
STALE_SECONDS = 3
# The times of a file and of a process are those of the last tick: 10 ms each at CONFIG_HZ=100.
TICKS_SECONDS = 0.1
_FIRST_LINE = "# BEGIN RECORD kvmlun\n"
_AUTH = "node.session.auth."
# iscsiadm polls at this interval too (usr/idbm.c, idbm_lock): the protocol has no event.
LOCK_POLL_SECONDS = 0.01


def root(program: Path = PROGRAM) -> Path:
    """Return the folder of the database that this host's iscsiadm was built for.

    Raises errors.Storage if it was built for none that is known.
    """
    try:
        made = program.stat()
        return _root(program, made.st_ino, made.st_mtime_ns)
    except OSError as error:
        raise errors.Storage(f"{program}: {error.strerror}; install open-iscsi") from error


# An upgrade of open-iscsi may move the database while kvmlund runs.
@functools.lru_cache(1)
def _root(program: Path, _inode: int, _mtime: int) -> Path:
    built = program.read_bytes()
    for folder in ROOTS:
        if os.fsencode(folder / "nodes") + b"\0" in built:
            return folder
    raise errors.Storage(f"{program} keeps its node records in a place that kvmlun does not know")


def records(target: str, portal: Portal, roots: tuple[Path, ...] = ROOTS) -> list[Path]:
    """Return the record files for `target` at `portal`, in both forms that iscsiadm writes.

    The form is ``nodes/IQN/IP,PORT`` without a target portal group tag, which is then that of
    every iface, else ``nodes/IQN/IP,PORT,TPGT/IFACE`` (open-iscsi usr/idbm.c). One of ours in the
    first form does not count for a named iface: write() makes room.
    """
    found: list[Path] = []
    for folder in roots:
        plain = _plain(folder, target, portal)
        found += [path for group in _groups(plain) if (path := group / _iface(portal)).is_file()]
        if plain.is_file() and not (portal.iface and is_ours(plain)):
            found.append(plain)
    return found


def is_ours(record: Path) -> bool:
    """Tell whether write() made a record; iscsiadm puts its own version into the first line."""
    try:
        with open(record, errors="replace") as file:
            return file.readline() == _FIRST_LINE
    except OSError:
        return False


def may_write(target: str, portal: Portal, roots: tuple[Path, ...] = ROOTS) -> bool:
    """Tell whether a record of ours would replace nobody else's."""
    return all(map(is_ours, records(target, portal, roots)))


def group(target: str, portal: Portal, folder: Path | None = None) -> int | None:
    """Return the portal group tag of the records at `portal`, None where they are without."""
    plain = _plain(folder or root(), target, portal)
    return None if plain.is_file() else next(map(_tag, _groups(plain)), None)


def write(
    target: str,
    portal: Portal,
    settings: Mapping[str, str],
    group: int | None = None,
    folder: Path | None = None,
    defaults: Path = DEFAULTS,
) -> None:
    """Write a node record: the host's defaults in iscsid.conf, and `settings` over them.

    What neither has gets iscsiadm's built-in value when it reads the record. Credentials
    in `settings` replace those of the host as a whole, whose target may be another one. Without
    the tag of the portal's `group` the record has the older of its two forms, of which a portal
    has one for all ifaces. Must not be called where a record of somebody else's exists. Raises
    errors.Storage if it cannot be written or this host has no such iface, errors.Timeout if the
    lock stays taken.
    """
    folder = folder or root()
    record = plain = _plain(folder, target, portal)
    if group is not None:
        record = plain.with_name(f"{plain.name},{group}") / _iface(portal)
    # Every file inside nodes/ is taken for a record, so it is made beside it.
    copy = folder / ".kvmlun"
    try:
        host = _defaults(defaults)
        if any(name.startswith(_AUTH) for name in settings):
            host = {name: value for name, value in host.items() if not name.startswith(_AUTH)}
        values = {
            "node.name": target,
            "node.tpgt": str(-1 if group is None else group),
            "node.discovery_type": "static",
            **binding(portal.iface, folder),
            **host,
            "node.conn[0].address": portal.host,
            "node.conn[0].port": str(portal.port),
            **settings,
        }
        lines = "".join(f"{name} = {value}\n" for name, value in values.items())
        with _locked():
            if group is not None:
                _make_room(plain, group)
            record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w") as file:
                # Not synced: after a power cut the ledger has it removed, whatever is left of it.
                file.write(f"{_FIRST_LINE}{lines}# END RECORD\n")
            copy.rename(record)
    except OSError as error:
        raise errors.Storage(f"cannot write node record {record}: {error.strerror}") from error


def delete(target: str, portal: Portal, folder: Path | None = None) -> None:
    """Remove a record that write() made, if it is there; raises like it.

    One that somebody's discovery put into its place is theirs.
    """
    folder = folder or root()
    for record in filter(is_ours, records(target, portal, (folder,))):
        try:
            with _locked():
                record.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # other records of the target stay
                    for above in record.parents:
                        if above == folder / "nodes":
                            break
                        above.rmdir()
        except OSError as error:
            raise errors.Storage(f"cannot remove node record {record}: {error.strerror}") from error


def _make_room(plain: Path, group: int) -> None:
    """Give our record of the default iface the form beside which others can be."""
    if not is_ours(plain):
        return
    default = plain.with_name(f"{plain.name},{group}") / "default"
    default.parent.mkdir(mode=0o700, exist_ok=True)
    text = plain.read_text().replace("\nnode.tpgt = -1\n", f"\nnode.tpgt = {group}\n")
    plain.write_text(text)
    plain.rename(default)


def _plain(folder: Path, target: str, portal: Portal) -> Path:
    return folder / "nodes" / target / f"{portal.host},{portal.port}"


def _groups(plain: Path) -> list[Path]:
    """Return the folders of a portal's records, one a portal group tag."""
    return sorted(path for path in plain.parent.glob(f"{plain.name},*") if _tag(path) is not None)


def _tag(folder: Path) -> int | None:
    text = folder.name.rpartition(",")[2]
    return int(text) if text.isascii() and text.isdigit() else None


def _iface(portal: Portal) -> str:
    return portal.iface or "default"


def binding(iface: str, folder: Path | None = None) -> dict[str, str]:
    """Return what a record says of its iface: all that the iface's own record has.

    Raises errors.Storage for one that this host has not.
    """
    if not iface:
        return {"iface.iscsi_ifacename": "default", "iface.transport_name": "tcp"}
    record = (folder or root()) / "ifaces" / iface
    if not record.is_file():
        raise errors.Storage(
            f"open-iscsi has no iface {iface} (no {record}); make it with: iscsiadm -m iface "
            f"-I {iface} -o new, and then -o update -n iface.net_ifacename -v DEVICE"
        )
    return {**_settings(record, "iface."), "iface.iscsi_ifacename": iface}


def _defaults(file: Path) -> dict[str, str]:
    """Return the node settings in iscsid.conf (usr/idbm.c, idbm_recinfo_config)."""
    return _settings(file, "node.") if file.exists() else {}


def _settings(file: Path, prefix: str) -> dict[str, str]:
    # A line ends at a NUL for open-iscsi, which is C.
    text = file.read_text(errors="replace")
    lines = [line.partition("\0")[0].strip() for line in text.splitlines()]
    pairs = (line.partition("=") for line in lines if line.startswith(prefix))
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


# Removing a stale lock must not meet another thread that has just taken a new one.
_one_at_a_time = threading.Lock()


@contextlib.contextmanager
def _locked(lock: Path = LOCK, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold open-iscsi's lock: a link to a file, without an owner (usr/idbm.c, idbm_lock)."""
    lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock.touch(mode=0o600)
    held = lock.with_name(lock.name + ".write")
    with _one_at_a_time:
        _take(lock, held, seconds)
        try:
            yield
        finally:
            held.unlink(missing_ok=True)


def _take(lock: Path, held: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return os.link(lock, held)
        except FileExistsError:
            if time.monotonic() > deadline:
                raise errors.Timeout(
                    f"{held} stayed taken for {seconds:.0f} s; if no iscsiadm runs, remove it"
                ) from None
            if _is_stale(held):
                log.warning("removing %s: the iscsiadm that made it is gone", held)
                held.unlink(missing_ok=True)
            time.sleep(LOCK_POLL_SECONDS)


def _is_stale(held: Path, proc: Path = Path("/proc")) -> bool:
    """Tell whether no iscsiadm that could have made the lock lives any more.

    iscsiadm does not remove it when it is killed, and before 2.1.10 waits 30 s
    and then goes on without it; since then it fails for ever.
    """
    try:
        made = held.stat().st_ctime  # link(2) sets it
    except FileNotFoundError:
        return False
    if time.time() - made < STALE_SECONDS:
        return False
    return not any(began <= made + TICKS_SECONDS for began in started("iscsiadm", proc))


def started(command: str, proc: Path = Path("/proc")) -> Iterator[float]:
    """Yield when (seconds since the epoch) each process of that name was started (proc(5))."""
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    for process in proc.glob("[0-9]*/stat"):
        try:
            head, _, fields = process.read_text(errors="replace").rpartition(")")
        except OSError:
            continue
        if head.endswith(f"({command}"):
            yield booted + int(fields.split()[19]) / os.sysconf("SC_CLK_TCK")
