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
    PREEMPT = "the host that it came from still has the LUN"
    REGAIN = "the target has lost the reservation; suspended until it is there again"
    BEGIN = "fencing was turned on while it runs; suspended until it holds the LUN"
    ADOPT = "it holds the LUN by a key that was not recorded; suspended until it has another"
    FOREIGN = "fencing was turned on while it runs, and another host holds the LUN"
    LOSE = "another host has taken the LUN"


def due(record: Record | None, found: Reservation, host: Host) -> Step:
    """Return the step for a domain that runs here with the record `record`, None without one."""
    holder = found.holder
    if record is None:
        if holder is None:
            return Step.BEGIN
        return Step.ADOPT if holder.key in found.stale(host) else Step.FOREIGN
    if not found.registrations or (record.phase == REGAINING and holder is None):
        return Step.REGAIN
    if not found.has(record.key):
        return Step.LOSE
    if holder is None:
        return Step.RESERVE
    if victim(record, found, host):
        return Step.PREEMPT
    return Step.NOTHING if found.held_by(record.key) else Step.LOSE


def victim(record: Record, found: Reservation, host: Host) -> int:
    """Return the key that has to go before a domain that runs here is the only writer, 0 for none.

    That of the source of its migration, also where that never became the holder itself, and
    whatever holds the LUN for an earlier login of this host.
    """
    rivals = {each.key: each.holder for each in found.registrations if each.key in record.rivals}
    holders = [key for key, holds in rivals.items() if holds]
    if record.phase == ARRIVING and rivals:
        return (holders or list(rivals))[0]
    holder = found.holder
    return holder.key if holder and holder.key in found.stale(host, record.key) else 0
