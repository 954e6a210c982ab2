"""What a running domain's key on a LUN has to become, given what the target says. Pure.

The storage decides who writes: each step is one command of which the target lets one host win.
Only the holder of the reservation, and the host that a migration comes to, are registered.
"""

from __future__ import annotations

import enum

from .keys import ARRIVING, BEGINNING, LOST, REGAINING, Record
from .reservation import Host, Reservation


class Step(enum.Enum):
    """What is due for a domain that runs here."""

    NOTHING = "it is the holder"
    RESERVE = "registered, and the LUN is not reserved"
    PREEMPT = "another one has the LUN as well"
    REJOIN = "the target has lost its registration"
    REGAIN = "the target has lost the reservation"
    BEGIN = "fencing was turned on while it runs"
    ADOPT = "it holds the LUN by a key that was not recorded"
    FOREIGN = "fencing was turned on while it runs, and another host holds the LUN"
    LOSE = "another host has taken the LUN"


def due(record: Record | None, found: Reservation, host: Host) -> Step:
    """Return the step for a domain that runs here with the record `record`, None without one."""
    holder = found.holder
    if record is None:
        if holder is None:
            return Step.BEGIN
        return Step.ADOPT if holder.key in found.stale(host) else Step.FOREIGN
    if record.phase == LOST:
        return Step.LOSE
    if found.held_by(record.key):
        if victim(record, found, host):
            return Step.PREEMPT
        return Step.NOTHING if found.reserved == record.key else Step.RESERVE
    if record.phase == BEGINNING:
        return Step.BEGIN if holder is None or holder.key in found.stale(host) else Step.LOSE
    if record.phase == REGAINING:
        # Whoever was there meanwhile may have written, though nobody is there now.
        return Step.LOSE if holder or found.changes(record.key) else Step.REGAIN
    if not found.registrations and not found.generation:
        return Step.REGAIN
    if not found.has(record.key):
        came = record.phase == ARRIVING and holder and holder.key in record.rivals
        return Step.REJOIN if came else Step.LOSE
    if victim(record, found, host):
        return Step.PREEMPT
    return Step.LOSE if holder else Step.RESERVE


def victim(record: Record, found: Reservation, host: Host) -> int:
    """Return the key that has to go before a domain that runs here is the only writer, 0 for none.

    That of the source of its migration, also where that never became the holder itself, and
    what an earlier login of this host has left.
    """
    rivals = [each for each in found.registrations if each.key in record.rivals]
    if record.phase == ARRIVING and rivals:
        return max(rivals, key=lambda each: each.holder).key
    if found.held_by(record.key) and (other := found.other_holder(record.key)):
        return other
    return next(iter(found.stale(host, record.key)), 0)
