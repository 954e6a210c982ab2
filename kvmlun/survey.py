"""What the targets say at this moment of the LUNs that are here: who holds them, what they can."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from . import errors
from .keys import Record
from .lun import Wwid
from .reach import Reach
from .reservation import Reservation
from .status import LunStatus, ReservationStatus
from .sysfs import Disk, Session
from .wait import Deadline

_SECONDS = 5.0


async def survey(
    reach: Reach,
    luns: Iterable[LunStatus],
    sessions: Iterable[Session],
    record: Callable[[str], Record | None],
    fences: Callable[[Wwid], bool],
) -> list[ReservationStatus]:
    """Ask side by side; one that does not answer says so in `can`. `fences` tells the catalog's
    part, `record` this host's key."""
    sessions = list(sessions)

    async def ask(lun: LunStatus) -> ReservationStatus | None:
        disks = _disks(lun.wwid, sessions)
        if not disks:
            return None
        mine, found, can = record(lun.wwid), Reservation(), ""
        try:
            registrar = reach.bare(lun.wwid, disks, Deadline(_SECONDS))
            await reach.ask(registrar)
            can = registrar.can.text
            if registrar.can.reservations:
                found = await registrar.status()
        except errors.Error as problem:
            can = f"unknown: {problem}"
        return ReservationStatus(
            wwid=lun.wwid,
            volume=lun.volume,
            fencing=mine is not None or fences(Wwid.parse(lun.wwid)),
            phase=mine.phase if mine else "",
            here=mine is not None and found.held_by(mine.key),
            can=can,
            reservation=found,
        )

    answers = await asyncio.gather(*(ask(lun) for lun in luns if lun.wwid))
    return [answer for answer in answers if answer]


def _disks(wwid: str, sessions: Iterable[Session]) -> list[Disk]:
    return [d for session in sessions if session.up for d in session.disks if d.wwid == wwid]
