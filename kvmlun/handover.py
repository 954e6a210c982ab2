"""Fenced LUNs along a domain's way: announced, made ready, started, released.

The hooks and the loop tell what happens to a domain; fence.py, hold.py and withdraw.py do what its
LUNs need.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from collections.abc import Awaitable, Callable, Iterable

from . import errors, qemu
from .arrivals import Arrivals
from .domxml import Domain
from .fence import Fence
from .hold import Hold
from .keys import ARRIVING, Keys, Record
from .leases import Leases
from .lun import Wwid
from .request import Request
from .rounds import Watched
from .wait import Deadline
from .withdraw import Withdrawal

log = logging.getLogger("kvmlun.handover")


class Handover:
    """`runs_here` asks libvirt whether a domain runs here, `needed` tells whether a record's
    domain may still be here, `grace` is how many seconds a key waits for the other host to take the
    LUN over; `changed` is called after each change."""

    def __init__(
        self,
        fence: Fence,
        hold: Hold,
        withdrawal: Withdrawal,
        keys: Keys,
        arrivals: Arrivals,
        leases: Leases,
        runs_here: Callable[[str], Awaitable[bool]],
        needed: Callable[[Record], bool],
        grace: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        self._fence = fence
        self._hold = hold
        self._withdrawal = withdrawal
        self._keys = keys
        self._arrivals = arrivals
        self._leases = leases
        self._runs_here = runs_here
        self._needed = needed
        self._grace = grace
        self._changed = changed
        self._giving_up: dict[str, asyncio.Task[None]] = {}
        self._turning: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()

    def announce(self, domain: Domain, requests: Iterable[Request]) -> None:
        """A migration to here has begun."""
        self._arrivals.announce(domain.uuid, any(request.fenced for request in requests))

    def is_announced(self, domain: Domain, began: float) -> bool:
        """Tell whether a ``prepare`` that `began` then (boottime() seconds) is a migration's."""
        return self._arrivals.is_announced(domain.uuid, began)

    async def prepare(
        self,
        domain: Domain,
        requests: Iterable[Request],
        wwids: Iterable[Wwid],
        began: float,
        deadline: Deadline,
    ) -> None:
        """Have the fenced LUNs reserved, or for a migration find out that they can be.

        Raises errors.Error to refuse, as started() does.
        """
        fenced = [(w, r) for r, w in zip(requests, wwids, strict=True) if r.fenced]
        if not self.is_announced(domain, began):
            self._arrivals.end(domain.uuid)
            return await self._acquire(domain, fenced, deadline)
        for wwid, request in fenced:
            await self._fence.expect(request, wwid, _key(domain, wwid), deadline)

    async def started(
        self, domain: Domain, requests: Iterable[Request], deadline: Deadline
    ) -> None:
        """Have a domain that arrives registered beside its source.

        One that does not arrive was started after a migration to here had been announced, and
        must become the holder as any other.
        """
        fenced = [(self._wwid(request), request) for request in requests if request.fenced]
        if await asyncio.to_thread(qemu.is_incoming, domain.uuid):
            for wwid, request in fenced:
                source = _key(domain, wwid)
                await self._fence.register(request, wwid, domain.name, source, deadline)
        else:
            await self._acquire(domain, fenced, deadline)
        self.ended(domain.uuid)

    def turned(self, uuid: str) -> None:
        """A domain has begun to run, or stands still: if it has arrived it is the holder now.

        Not by the loop, which looks at all domains first: the source goes on as soon as libvirt
        there believes that the migration has failed.
        """
        if uuid in self._turning:
            self._again.add(uuid)
        elif any(record.phase == ARRIVING for record in self._keys.of(uuid)):
            task = asyncio.ensure_future(self._turn(uuid))
            self._turning[uuid] = task
            task.add_done_callback(functools.partial(self._done, uuid))

    def arrive(self) -> None:
        """Do the same for all, as for those that ran before this daemon did."""
        for uuid in {record.uuid for record in self._keys.all if record.phase == ARRIVING}:
            self.turned(uuid)

    async def _turn(self, uuid: str) -> None:
        arrived = [record for record in self._keys.of(uuid) if record.phase == ARRIVING]
        here = await self._runs_here(uuid)
        for record in arrived:
            request = record.request
            assert request.pinned
            if here:
                domain = Watched(uuid, record.name, (request,))
                await self._hold.hold(domain, request, request.pinned)
            else:
                await self._fence.renew(record)

    def _done(self, uuid: str, task: asyncio.Task[None]) -> None:
        del self._turning[uuid]
        problem = None if task.cancelled() else task.exception()
        if isinstance(problem, errors.Error):
            log.warning("%s: its reservation: %s; tried again soon", uuid, problem)
        elif problem:
            log.error("%s: its reservation", uuid, exc_info=problem)
        if uuid in self._again:
            self._again.discard(uuid)
            self.turned(uuid)

    async def _acquire(
        self, domain: Domain, fenced: Iterable[tuple[Wwid, Request]], deadline: Deadline
    ) -> None:
        """One after the other and in the same order everywhere.

        Of two hosts that start a VM at the same moment the one that gets the first LUN gets the
        others as well.
        """
        for wwid, request in sorted(fenced, key=lambda each: each[0]):
            await self._fence.acquire(request, wwid, domain.name, deadline)

    def _wwid(self, request: Request) -> Wwid:
        """Return what was proven to be there when the domain's LUNs were made ready."""
        if request.pinned:
            return request.pinned
        lease = self._leases.get(request.domain)
        for need in lease.needs if lease else ():
            if need.address == request.lun.address and need.wwid:
                return Wwid.parse(need.wwid)
        raise errors.Refused(f"{request}: its WWID is not known any more")

    def ended(self, uuid: str, asked: float = math.inf) -> None:
        """What starts from now on is not a migration that was announced until `asked`."""
        self._arrivals.end(uuid, asked)

    def expire(self) -> None:
        """Forget announcements that nothing has followed."""
        for uuid in self._arrivals.expired():
            if not self._leases.get(uuid):
                try:
                    self.ended(uuid)
                except errors.Storage as problem:
                    log.warning("%s: its announcement is over: %s", uuid, problem)

    def give_up(self) -> None:
        """Begin to take off their targets the keys of domains that are gone."""
        for record in self._keys.all:
            if record.wwid not in self._giving_up and not self._needed(record):
                task = asyncio.ensure_future(
                    self._withdrawal.give_up(record, self._needed, self._grace())
                )
                self._giving_up[record.wwid] = task
                task.add_done_callback(functools.partial(self._given_up, record))

    def _given_up(self, record: Record, task: asyncio.Task[None]) -> None:
        del self._giving_up[record.wwid]
        failure = None if task.cancelled() else task.exception()
        if failure:
            log.error("key %s on %s: %s", record.key_text, record.wwid, failure)
        self._changed()

    async def finish(self, seconds: float) -> None:
        """Wait for keys that are on their way off: a host that shuts down is to leave none."""
        if self._giving_up:
            await asyncio.wait(self._giving_up.values(), timeout=seconds)


def _key(domain: Domain, wwid: Wwid) -> int | None:
    """Return what the metadata of a domain tells of the key of the host that it comes from."""
    return next((lun.key for lun in domain.luns if lun.wwid == wwid), None)
