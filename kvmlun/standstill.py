"""Domains that stand still while this host does not hold one of their LUNs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from . import errors, events
from .keys import LOST, WAITING, Keys, Record
from .wait import within

log = logging.getLogger("kvmlun.standstill")

_LIBVIRT_SECONDS = 3.0
_STOPPED = (*WAITING, LOST)


class Domains(Protocol):
    """What libvirt has to do or to tell (libvirtconn.py); each raises errors.Storage."""

    async def runs_here(self, uuid: str) -> bool: ...
    async def is_paused(self, uuid: str) -> bool: ...
    async def suspend(self, uuid: str) -> bool: ...
    async def resume(self, uuid: str) -> bool: ...


class Standstill:
    """Methods raise errors.Error.

    `may_go_on` tells whether nothing but a reservation keeps a domain (its UUID) suspended;
    `changed` is called when a domain (its UUID) is to stand still.
    """

    def __init__(
        self,
        records: Keys,
        domains: Domains,
        may_go_on: Callable[[str], bool],
        changed: Callable[[str], None],
    ) -> None:
        self._keys = records
        self._domains = domains
        self._may_go_on = may_go_on
        self._changed = changed

    def stops(self, uuid: str) -> bool:
        """Tell whether a domain must not go on for now."""
        return any(r.waits or r.phase in _STOPPED for r in self._keys.of(uuid))

    async def runs_here(self, uuid: str) -> bool:
        """Tell whether a domain is here and not in transit."""
        return await _soon(self._domains.runs_here(uuid))

    async def suspend(self, uuid: str) -> None:
        await _soon(self._domains.suspend(uuid))

    async def begin(self, record: Record, phase: str, why: str) -> None:
        """Suspend a domain until it holds its LUN; one that somebody paused stays as it is.

        While nobody is the holder another host may become it, and a guest that runs and is
        registered could write beside that one's.
        """
        if record.phase != phase or not record.waits:
            mine = any(each.waits for each in self._keys.of(record.uuid))
            guarded = not self._may_go_on(record.uuid)
            waits = mine or guarded or not await _soon(self._domains.is_paused(record.uuid))
            # Before it is done, so that a restart of the daemon in between leaves no VM behind.
            self._keys.change(record, phase=phase, waits=waits)
            self._changed(record.uuid)
            if (phase, waits) != (record.phase, record.waits):
                state = "suspended until this host holds" if waits else "paused, and does not hold"
                about = events.STANDSTILL(domain=record.name, wwid=record.wwid)
                log.warning("%s is %s %s: %s", record.name, state, record.wwid, why, extra=about)
        await self.suspend(record.uuid)

    async def end(self, record: Record) -> Record:
        """Let a domain that was suspended for this LUN go on, if nothing else is in its way."""
        others = [r for r in self._keys.of(record.uuid) if r.wwid != record.wwid]
        if any(r.phase in _STOPPED for r in others):
            return record  # the last one of them lets it go on
        waiting = [each for each in (record, *others) if each.waits]
        if waiting and self._may_go_on(record.uuid):
            done = await _soon(self._domains.resume(record.uuid))
            told = f"{record.name} {'goes on' if done else 'stays paused'}"
            log.warning("%s", told, extra=events.STANDSTILL_OVER(domain=record.name))
        for each in waiting:
            if self._keys.get(each.wwid) == each:
                self._keys.change(each, waits=False)
        return self._keys.get(record.wwid) or record


async def _soon(call: Awaitable[bool]) -> bool:
    """Await libvirt for a moment only: a hook of the same domain may wait for this one's turn."""
    try:
        return await within(call, _LIBVIRT_SECONDS)
    except TimeoutError:
        raise errors.Timeout("libvirt did not answer; it is asked again soon") from None
