"""Finding out what there is to explain of a domain, without changing anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import errors, explain, hookproto, loginprobe, nodedb, ours, sysfs
from .attach import find_disk
from .domains import Domains
from .domxml import Disk, Domain
from .explain import Known, Line, World
from .handover import Handover
from .hooks import Hooks
from .leases import boottime
from .ledger import Ledger
from .listing import Guest
from .login import candidates
from .lun import Lun, Portal
from .maps import Maps
from .ours import Sources
from .request import Request
from .status import ReservationStatus
from .steps import Operation
from .sysfs import Session
from .traces import Traces
from .wait import Deadline, within
from .worker import Workers

_SECONDS = 10.0
_PROBE_SECONDS = 2.0
_LIBVIRT_SECONDS = 2.0


@dataclass(frozen=True)
class Explanation:
    """What a start of a domain would do, or what there is of one that runs, and what was done."""

    name: str
    uuid: str
    running: bool
    lines: tuple[Line, ...]
    operations: tuple[Operation, ...]


class Explainer:
    """`ask` looks at a domain by its UUID, `reservations` asks the targets of the LUNs that are
    here; `grace` is in seconds."""

    def __init__(
        self,
        domains: Domains,
        ask: Callable[[str], Awaitable[Guest | None]],
        sources: Sources,
        hooks: Hooks,
        handover: Handover,
        maps: Maps,
        ledger: Ledger,
        workers: Workers,
        traces: Traces,
        reservations: Callable[[], Awaitable[list[ReservationStatus]]],
        grace: Callable[[], float],
    ) -> None:
        self._domains = domains
        self._ask = ask
        self._sources = sources
        self._hooks = hooks
        self._handover = handover
        self._maps = maps
        self._ledger = ledger
        self._workers = workers
        self._traces = traces
        self._reservations = reservations
        self._grace = grace

    async def explain(self, vm: str) -> Explanation:
        """`vm` is a domain's name or UUID. Raises errors.Unknown, errors.Storage."""
        guest = await self._fresh(self._guest(vm))
        domain = guest.live or guest.persistent
        if domain is None:
            raise errors.Storage(f"libvirt does not tell the definition of {guest.name} now")
        running = guest.active
        found = await self._known(domain, running)
        requests = [_request(domain, each) for each in found if each.lun]
        made = explain.lines(domain, found, await self._world(domain, requests), running)
        made = [*self._before(domain), *made]
        if not running:
            made += self._refusal(domain, made)
        operations = tuple(self._traces.of(guest.uuid))
        return Explanation(guest.name, guest.uuid, running, tuple(made), operations)

    def _guest(self, vm: str) -> Guest:
        listing = self._domains.known(errors.Storage, old=True)
        for guest in listing.named(vm):
            return guest
        raise errors.Unknown(f"no domain {vm[:80]!r} is defined on this host")

    async def _fresh(self, guest: Guest) -> Guest:
        """Return a domain as it is now: libvirt signals no change of a definition by
        `virsh attach-device --config`. While it does not answer, as it was before."""
        if self._domains.problem:
            return guest
        try:
            fresh = await within(self._ask(guest.uuid), _LIBVIRT_SECONDS)
        except (errors.Storage, TimeoutError):
            return guest
        if fresh is None:
            raise errors.Unknown(f"no domain {guest.name[:80]!r} is defined on this host")
        return fresh

    def _before(self, domain: Domain) -> list[Line]:
        made = []
        if problem := self._domains.problem:
            made.append(Line("", explain.NOTE, f"{problem}; this is as it was before"))
        if (Path(hookproto.BYPASS) / domain.uuid).exists():
            text = f"{hookproto.BYPASS}/{domain.uuid} is there: it starts without any of this"
            made.append(Line("", explain.NOTE, text))
        return made

    def _refusal(self, domain: Domain, made: Iterable[Line]) -> list[Line]:
        """Return what is refused for the whole domain, if no line says so yet."""
        try:
            self._hooks.check(domain)
        except errors.Error as problem:
            if str(problem) not in {line.text for line in made}:
                return [Line("", explain.REFUSED, str(problem))]
        return []

    async def _known(self, domain: Domain, running: bool) -> list[Known]:
        try:
            mine = self._sources.running(domain) if running else self._sources.luns(domain)
        except errors.Error:
            mine = []  # which of its disks is to blame is found out one by one
        luns = {(disk.target, link): lun for disk, link, lun in mine}
        shown = [(disk, link) for disk in domain.disks for link in disk.links]
        hidden = [(disk, link) for disk, link, _ in mine if (disk, link) not in shown]
        judged = (
            self._judged(domain, disk, link, luns.get((disk.target, link)))
            for disk, link in shown + hidden
        )
        return await asyncio.gather(*judged)

    async def _judged(self, domain: Domain, disk: Disk, link: str, lun: Lun | None) -> Known:
        """Judge a link; `lun` is what it is known to mean."""
        try:
            lun = lun or self._sources.of_link(link, domain)
        except errors.Error as problem:
            return Known(disk, link, None, str(problem))
        if lun is None:
            return Known(disk, link, None)
        request = ours.request(domain, disk, link, lun)
        mapped = await self._maps.wanted(request, Deadline(_SECONDS))
        return Known(disk, link, lun, mapped=mapped)

    async def _world(self, domain: Domain, requests: list[Request]) -> World:
        sessions = sysfs.sessions()
        wanted = {(r.lun.address.target, p) for r in requests for p in r.lun.portals}
        missing = [key for key in wanted if not any(s.key == key for s in sessions)]
        closed, facts, reservations = await asyncio.gather(
            self._closed(missing), self._facts(requests, sessions), self._held(requests)
        )
        return World(
            sessions=sessions,
            owned=frozenset(s.sid for s in sessions if self._ledger.owns(s)),
            grace=self._grace(),
            arriving=self._handover.is_announced(domain, boottime()),
            closed=closed,
            foreign=frozenset(key for key in missing if not nodedb.may_write(*key)),
            facts=facts,
            reservations=reservations,
        )

    async def _closed(self, missing: list[tuple[str, Portal]]) -> dict[tuple[str, Portal], str]:
        """Ask each portal for a login that is not completed."""

        async def why(target: str, portal: Portal) -> str:
            return await loginprobe.unreachable(portal, _PROBE_SECONDS) or await loginprobe.refusal(
                target, portal, _PROBE_SECONDS
            )

        answers = await asyncio.gather(*(why(*key) for key in missing))
        return dict(zip(missing, answers, strict=True))

    async def _facts(
        self, requests: Iterable[Request], sessions: tuple[Session, ...]
    ) -> dict[str, Mapping[str, Any] | str]:
        disks = {
            disk.name: disk
            for request in requests
            for session in candidates(request, sessions)
            if session.up and (disk := find_disk(session, request.lun))
        }

        async def ask(name: str) -> Mapping[str, Any] | str:
            try:
                return await self._workers.probe(name, disks[name].number, _PROBE_SECONDS)
            except errors.Error as problem:
                return str(problem)

        return dict(zip(disks, await asyncio.gather(*map(ask, disks)), strict=True))

    async def _held(self, requests: Iterable[Request]) -> dict[str, ReservationStatus]:
        if not any(request.fenced for request in requests):
            return {}
        return {each.wwid: each for each in await self._reservations()}


def _request(domain: Domain, known: Known) -> Request:
    assert known.lun
    return ours.request(domain, known.disk, known.link, known.lun)
