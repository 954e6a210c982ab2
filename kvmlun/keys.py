"""The keys that this host uses or means to use on fenced LUNs, one record a LUN.

A record is written before its key is used, so that after a crash at any moment something
still knows what is to be taken off the target. Registrations outlive sessions but not their use
to us: after a reboot they are stale, and the next start here finds them on the target itself.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from . import errors, reservation, statefile
from .lun import Lun, LunAddress, Wwid
from .request import Request

FOLDER = Path("/run/kvmlun/keys")
_MACHINE_ID = Path("/etc/machine-id")
_BOARD = Path("/sys/class/dmi/id/product_uuid")
_PLAIN = re.compile(r"[A-Za-z0-9.]{1,64}")

# The phases of a key's life.
STARTING = "starting"  # to be registered and to become the holder, before QEMU is there
ARRIVING = "arriving"  # registered beside the source of a migration, to become the holder after it
HOLDER = "holder"
BEGINNING = "beginning"  # fencing was turned on: its domain is suspended until it is the holder
REGAINING = "regaining"  # the same, since the target has lost the reservation
LOST = "lost"  # another host is the holder now
WAITING = (BEGINNING, REGAINING)  # in which the domain stands still


@dataclass(frozen=True)
class Record:
    """A domain's key on a LUN, which it has open by `link`.

    `rivals` are the keys that a migration's source may have. `paths` are the SCSI devices
    (host:channel:target:lun) that the key is registered on, `aptpl` is whether the target is to
    keep it over a restart. `waits` is whether the domain goes on when it holds the LUN.
    """

    wwid: str
    uuid: str
    name: str
    key: int
    phase: str
    rivals: tuple[int, ...] = ()
    why: str = ""
    paths: tuple[str, ...] = ()
    aptpl: bool = False
    waits: bool = False
    link: str = ""
    target: str = ""
    lun: int = 0

    @property
    def key_text(self) -> str:
        return reservation.key_text(self.key)

    @property
    def request(self) -> Request:
        """What of the domain's disk is known without its definition."""
        lun = Lun(Wwid.parse(self.wwid), LunAddress(self.target, self.lun), ())
        return Request(lun, self.link, False, False, self.uuid, fenced=True)


class Keys:
    """All records, in memory and in /run. Raises errors.Storage if one can't be written."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._records = {r.wwid: r for _, r in statefile.read_all(folder, _record)}

    @property
    def all(self) -> tuple[Record, ...]:
        return tuple(self._records.values())

    def get(self, wwid: str) -> Record | None:
        return self._records.get(wwid)

    def of(self, uuid: str) -> tuple[Record, ...]:
        """Return the records of a domain."""
        return tuple(r for r in self._records.values() if r.uuid == uuid)

    def put(self, record: Record) -> Record:
        statefile.write(self._path(record.wwid), asdict(record))
        self._records[record.wwid] = record
        return record

    def change(self, record: Record, **fields: Any) -> Record:
        return self.put(replace(record, **fields))

    def drop(self, record: Record) -> None:
        """Forget a record, unless another one took its place."""
        if self._records.get(record.wwid) == record:
            statefile.remove(self._path(record.wwid))
            del self._records[record.wwid]

    def _path(self, wwid: str) -> Path:
        # A t10 name may have any character, and be longer than a file's name.
        plain = _PLAIN.fullmatch(wwid)
        name = wwid if plain else "t10-" + hashlib.sha256(wwid.encode()).hexdigest()
        return self._folder / f"{name}.json"


def host_id(machine_id: Path = _MACHINE_ID, board: Path = _BOARD) -> int:
    """Return 32 bits that tell this host from others, also from one that was cloned from its disk.

    Never 0. Of machine-id(5), which is not to be told as it is. Raises errors.Storage without one.
    """
    try:
        seed = machine_id.read_text().strip()
    except OSError as error:
        raise errors.Storage(
            f"{machine_id} can't be read ({error.strerror}), so this host has no key for fencing; "
            "systemd-machine-id-setup makes it"
        ) from error
    try:
        seed += board.read_text().strip()
    except OSError:
        pass  # not every platform has one
    digest = hashlib.sha256(f"kvmlun {seed}".encode()).digest()
    return int.from_bytes(digest[:4], "big") or 1


def _record(value: dict[str, Any]) -> Record:
    fields = statefile.fields(Record, value)
    paths = tuple(str(path) for path in fields.get("paths", ()))
    rivals = tuple(int(key) for key in fields.get("rivals", ()))
    return Record(**{**fields, "paths": paths, "rivals": rivals})
