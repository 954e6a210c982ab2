"""Is this the right disk? What a device said of itself against what is known. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from . import errors
from .lun import Lun, LunAddress, Wwid
from .sysfs import Disk, Session


def identity(
    name: str, pinned: Wwid | None, address: LunAddress, facts: Mapping[str, Any], node: str
) -> Wwid:
    """Return the device's WWID if it is the pinned one; raises errors.Stale if not.

    `name` is what an error begins with, here and below.
    """
    claims = [Wwid.parse(text) for text in facts["wwids"]]
    if pinned is None:
        if not claims:
            raise errors.Refused(f"{name}: {node} tells no identity in VPD page 0x83")
        return claims[0]
    if pinned not in claims:
        now = claims[0] if claims else "one without an identity in VPD page 0x83"
        raise errors.Stale(
            f"{name}: {address} is not {pinned} but {now}; the LUN was exchanged on the "
            "array, or the pinned WWID is wrong (kvmlun volume repin corrects that)"
        )
    return pinned


def fresh(name: str, facts: Mapping[str, Any], node: str, serial: str) -> None:
    """Refuse a disk whose links are those of another one; raises errors.Stale.

    `serial` is udev's: what the LUN was when it was found. Its links and multipath go by that.
    """
    claims = [Wwid.parse(text) for text in facts["wwids"]]
    if serial.startswith(("2", "3")) and serial not in (wwid.serial for wwid in claims):
        raise errors.Stale(
            f"{name}: {node} was {serial} to udev when this host found it and is "
            f"{claims[0]} now; the LUN was exchanged on the array"
        )


def twins(wwid: Wwid, target: str, sessions: Iterable[Session]) -> list[tuple[str, Disk]]:
    """Return disks of other targets with that WWID, as far as the kernel knows, by their target.

    The link of the WWID could lead to either.
    """
    return [
        (session.target, disk)
        for session in sessions
        for disk in session.disks
        if session.target != target and disk.wwid == str(wwid)
    ]


def is_twin(wwid: Wwid, facts: Mapping[str, Any]) -> bool:
    """Tell whether a device says itself that it has the WWID: the kernel asked it long ago."""
    return str(wwid) in facts["wwids"]


def usable(name: str, lun: Lun, facts: Mapping[str, Any], read_only: bool, node: str) -> None:
    """Refuse a device that is too small, write-protected, or in use by the host itself."""
    size = facts["size"]
    if size == 0 or (lun.size and size < lun.size):
        raise errors.Refused(f"{name}: {node} has {size} bytes, expected {lun.size or 'more'}")
    if facts["read_only"] and not read_only:
        raise errors.Refused(
            f"{name}: {node} is write-protected; make the LUN writable or the disk <readonly/>"
        )
    if facts["claimed"]:
        raise errors.Refused(
            f"{name}: this host itself uses {node} (mount, swap, md or device mapper)"
        )
