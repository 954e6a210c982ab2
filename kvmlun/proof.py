"""Is this the right disk? What a device said of itself against what is known. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from . import errors
from .lun import Lun, LunAddress, Wwid
from .sysfs import Session


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


def unique(name: str, wwid: Wwid, target: str, sessions: Iterable[Session]) -> None:
    """Refuse a WWID that a LUN of another target has as well: its link could lead to either."""
    for session in sessions:
        if session.target != target and any(disk.wwid == str(wwid) for disk in session.disks):
            raise errors.Refused(
                f"{name}: {target} and {session.target} both have a LUN {wwid}; "
                "give one of them an identity of its own on the array"
            )


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
