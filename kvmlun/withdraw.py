"""Taking this host's key off a fenced LUN that no domain here needs any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from . import errors, events, reservation, sysfs
from .keys import Keys, Record
from .reach import SECONDS, Reach
from .registrar import Registrar
from .reservation import Host
from .sysfs import Disk
from .wait import Deadline

log = logging.getLogger("kvmlun.withdraw")

_POLL_SECONDS = 0.2


class Withdrawal:
    """Methods raise errors.Error. `changed` is called when the hold of a domain (its UUID) on a LUN
    has ended."""

    def __init__(self, reach: Reach, records: Keys, changed: Callable[[str], None]) -> None:
        self._reach = reach
        self._keys = records
        self._changed = changed

    async def give_up(self, record: Record, needed: Callable[[Record], bool], grace: float) -> None:
        """Take a key off the target, unless it is `needed`.

        While another host is registered, it may be the one that a migration went to: who leaves
        before that has become the holder leaves the LUN unguarded, so it has `grace` seconds.
        """
        patience, problem = Deadline(grace), "no session to it is up"
        while True:
            at_once = not patience.left
            async with self._reach.turn(record.wwid, Deadline(SECONDS)):
                if self._keys.get(record.wwid) != record or needed(record):
                    return
                paths = [(session.up, disk) for session in sysfs.sessions()
                         for disk in session.disks if disk.hctl in record.paths]  # fmt: skip
                up = [disk for is_up, disk in paths if is_up]
                try:
                    if up and await self._gone(record, up, at_once):
                        return self._changed(record.uuid)
                except errors.Error as error:
                    problem = str(error)
                if at_once and not _may_come_back(paths):
                    told = "key %s may be left on %s: %s; the next start on this host removes it"
                    about = events.KEY_LEFT(domain=record.name, wwid=record.wwid)
                    log.warning(told, record.key_text, record.wwid, problem, extra=about)
                    self._keys.drop(record)
                    return self._changed(record.uuid)
                if at_once:
                    raise errors.Storage(problem)
            await asyncio.sleep(_POLL_SECONDS)

    async def _gone(self, record: Record, disks: Sequence[Disk], at_once: bool) -> bool:
        """Have a key off the target; False while somebody may still be about to preempt it."""
        registrar = self._reach.bare(record.wwid, disks, Deadline(SECONDS))
        found = await registrar.status()
        if found.has(record.key):
            others = found.keys - {record.key}
            if found.held_by(record.key) and others and not at_once:
                return False
            if sum(each.key == record.key for each in found.registrations) > len(disks):
                record = await self._gather(registrar, record)
            await registrar.unregister(record)
            log.info("key %s is off %s", record.key_text, record.wwid)
        self._keys.drop(record)
        return True

    async def _gather(self, registrar: Registrar, record: Record) -> Record:
        """Have no registration but those of the paths that are here.

        A path whose session was logged in anew has left one of the same key, which a preempt would
        take from the others as well; so they get another key first.
        """
        old = record.key
        key = reservation.make_key(Host(old >> 32, ""), old)
        record = self._keys.change(record, key=key)
        await registrar.register(record, [old])
        await registrar.preempt(record, old)
        return record


def _may_come_back(paths: Iterable[tuple[bool, Disk]]) -> bool:
    """Tell whether a path that is down may still be used again."""
    return any(not up and disk.state != "transport-offline" for up, disk in paths)
