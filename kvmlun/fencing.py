"""What a running domain's key on a LUN has to become, given what the target says. Pure.

The storage decides who writes: each step is one command of which the target lets one host win.
Only the holder of the reservation, and the host that a migration comes to, are registered.
"""

from __future__ import annotations

import enum

from .keys import ARRIVING, REGAINING, Record
from .reservation import Host, Reservation


class Step(enum.Enum):
    """What is due for a domain that runs here."""

    NOTHING = "it is the holder"
    RESERVE = "registered, and nobody holds the LUN"
    PREEMPT = "the source of its migration still holds the LUN"
    REGAIN = "the target has forgotten everything: suspend, reserve, resume only if won"
    BEGIN = "fencing was turned on while it runs, and nobody holds the LUN"
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
    if found.held_by(record.key):
        return Step.NOTHING
    if not found.registrations or (record.phase == REGAINING and holder is None):
        return Step.REGAIN
    if not found.has(record.key):
        return Step.LOSE
    if holder is None:
        return Step.RESERVE
    if record.phase == ARRIVING and holder.key == record.rival:
        return Step.PREEMPT
    # What an earlier login of this host left is nobody's.
    return Step.PREEMPT if holder.key in found.stale(host, record.key) else Step.LOSE
