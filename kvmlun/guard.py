"""Is what a running domain has open still its LUN? If not, it is suspended until it is again.

An array can exchange a LUN under a session, and nothing in the kernel tells the two apart. So the
proof of a start is made again after every recovery of a session, and now and then. What a guest
writes between the exchange and the proof is on the wrong LUN: nobody can take that back.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from . import errors, events, proof, statefile, sysfs
from .attach import opened
from .maps import Maps
from .request import Request
from .rounds import Rounds, Watched
from .sysfs import Disk
from .worker import Workers

log = logging.getLogger("kvmlun.guard")

FOLDER = Path("/run/kvmlun/suspended")
_SECONDS = 10.0


@dataclass(frozen=True)
class Suspended:
    """A domain that goes on when its LUNs are the right ones again."""

    uuid: str
    name: str
    why: str


class Domains(Protocol):
    """What libvirt has to do; both tell whether they did, and raise errors.Storage."""

    async def suspend(self, uuid: str) -> bool: ...
    async def resume(self, uuid: str) -> bool: ...


class Guard:
    """Keeps in /run whom it suspended, so that a restart of the daemon forgets nobody.

    `may_go_on` tells whether nothing but a wrong LUN keeps a domain (its UUID) suspended; `changed`
    is called when it has come to another conclusion.
    """

    def __init__(
        self,
        workers: Workers,
        maps: Maps,
        domains: Domains,
        may_go_on: Callable[[str], bool],
        changed: Callable[[], None],
        folder: Path = FOLDER,
    ) -> None:
        self._workers = workers
        self._maps = maps
        self._domains = domains
        self._may_go_on = may_go_on
        self._changed = changed
        self._folder = folder
        self._suspended = {s.uuid: s for _, s in statefile.read_all(folder, _suspended)}
        self._rounds = Rounds(self._visit)
        self._open: dict[tuple[str, str], str] = {}  # which device a domain's link led to
        self._wrong: dict[str, Wrong] = {}

    @property
    def suspended(self) -> tuple[Suspended, ...]:
        return tuple(self._suspended.values())

    def stops(self, uuid: str) -> bool:
        """Tell whether a domain must not go on for now."""
        return uuid in self._suspended

    @property
    def exchanged(self) -> frozenset[str]:
        """Names of devices that are not the LUN that a running domain has to have."""
        return frozenset().union(*(wrong.devices for wrong in self._wrong.values()))

    @property
    def is_uneasy(self) -> bool:
        """Something is to be looked at again soon: a doubt that came meanwhile, too."""
        return bool(self._rounds.busy or self._wrong or self._suspended)

    def doubt(self, target: str) -> None:
        """A session with this target was away: whatever it leads to now has to be proven."""
        self._rounds.doubt(target)

    def look(self, domains: Iterable[Watched], period: float) -> None:
        """Begin to prove what is due. One that takes long holds up no other."""
        domains = list(domains)
        here = {domain.uuid for domain in domains}
        for gone in self._suspended.keys() - here:
            name = self._suspended[gone].name
            log.warning("%s is no longer watched: it does not go on by itself", name)
            self._forget(gone)
        for gone in self._wrong.keys() - here:
            del self._wrong[gone]
        links = {(d.uuid, request.link) for d in domains for request in d.requests}
        for key in self._open.keys() - links:
            del self._open[key]
        self._rounds.look(domains, lambda _: period)

    async def _visit(self, domain: Watched) -> bool:
        sessions = sysfs.sessions()
        verdicts = await asyncio.gather(
            *(self._verdict(domain, request, sessions) for request in domain.requests)
        )
        before = self._wrong.get(domain.uuid)
        self._note(domain, verdicts)
        try:
            for verdict in verdicts:
                for disk in () if verdict.is_lost else verdict.wrong:
                    told = "%s loses a path: %s"
                    log.error(told, domain.name, verdict.why, extra=events.PATH_WRONG())
                    await self._maps.drop_path(disk)
            lost = next((verdict for verdict in verdicts if verdict.is_lost), None)
            if lost:
                await self._suspend(domain, lost.why, before)
            elif all(verdict.is_right for verdict in verdicts):
                await self._resume(domain, [disk for v in verdicts for disk in v.right])
                return True
        except errors.Storage as problem:
            log.error("%s: %s", domain.name, problem)
        return False

    def _note(self, domain: Watched, verdicts: Sequence[Verdict]) -> None:
        devices = frozenset(disk.name for verdict in verdicts for disk in verdict.wrong)
        before = self._wrong.pop(domain.uuid, None)
        if devices:
            why = next(verdict.why for verdict in verdicts if verdict.wrong)
            self._wrong[domain.uuid] = Wrong(devices, why)
        if self._wrong.get(domain.uuid) != before:
            self._changed()

    async def _verdict(
        self, domain: Watched, request: Request, sessions: tuple[sysfs.Session, ...]
    ) -> Verdict:
        key = domain.uuid, request.link
        device = self._open.get(key) or os.path.basename(os.path.realpath(request.link))
        # What is behind a session that is down can't be asked, and nothing goes there.
        disks = [disk for session, disk in opened(request, device, sessions) if session.up]
        told = await asyncio.gather(*(self._proof(request, disk) for disk in disks))
        verdict = judge(list(zip(disks, told, strict=True)))
        if verdict.is_right:
            self._open[key] = device
        return verdict

    async def _proof(self, request: Request, disk: Disk) -> errors.Error | None:
        try:
            facts = await self._workers.probe(disk.name, disk.number, _SECONDS)
            proof.identity(str(request), request.pinned, request.lun.address, facts, disk.node)
        except errors.Error as problem:
            return problem
        return None

    async def _suspend(self, domain: Watched, why: str, before: Wrong | None) -> None:
        noted = domain.uuid in self._suspended
        self._suspended[domain.uuid] = Suspended(domain.uuid, domain.name, why)
        try:
            # Before it is done, so that a restart of the daemon in between leaves no VM behind.
            path = self._folder / f"{domain.uuid}.json"
            statefile.write(path, asdict(self._suspended[domain.uuid]))
        except errors.Storage as problem:
            log.error("%s goes on by itself only while kvmlund runs: %s", domain.name, problem)
        done = False
        try:
            done = await self._domains.suspend(domain.uuid)
        finally:
            if not (done or noted):
                self._forget(domain.uuid)
        if before is None or before.why != why:
            state = "suspended until the right LUN is back" if done else "paused already"
            log.error("%s is %s: %s", domain.name, state, why, extra=events.SUSPENDED())

    async def _resume(self, domain: Watched, disks: Iterable[Disk]) -> None:
        if domain.uuid not in self._suspended:
            return
        for disk in disks:
            # What the kernel and udev read meanwhile was another LUN's.
            await self._workers.call("rescan", disk.hctl, timeout=_SECONDS)
            await self._workers.call("change", disk.name, timeout=_SECONDS)
        done = self._may_go_on(domain.uuid) and await self._domains.resume(domain.uuid)
        self._forget(domain.uuid)
        told = "%s goes on: its LUNs are the right ones again"
        if not done:
            told = "%s has the right LUNs again, and was paused by others"
        log.warning(told, domain.name, extra=events.GOES_ON())

    def _forget(self, uuid: str) -> None:
        self._suspended.pop(uuid, None)
        try:
            statefile.remove(self._folder / f"{uuid}.json")
        except errors.Storage as problem:
            log.error("%s", problem)


@dataclass(frozen=True)
class Wrong:
    """Devices that are not a domain's LUNs, and what the first of them is instead."""

    devices: frozenset[str]
    why: str


@dataclass(frozen=True)
class Verdict:
    """What the paths to one LUN turned out to be; one that could not be asked is in neither."""

    right: tuple[Disk, ...]
    wrong: tuple[Disk, ...]
    why: str
    complete: bool

    @property
    def is_lost(self) -> bool:
        """What the guest writes goes to another LUN: no map keeps it off the wrong paths."""
        return bool(self.wrong) and not (self.right and all(disk.map for disk in self.wrong))

    @property
    def is_right(self) -> bool:
        return self.complete and bool(self.right) and not self.wrong


def judge(paths: Sequence[tuple[Disk, errors.Error | None]]) -> Verdict:
    """Tell right paths from wrong ones by the error of each one's proof. Pure."""
    wrong = [(disk, told) for disk, told in paths if isinstance(told, errors.Stale)]
    right = tuple(disk for disk, told in paths if told is None)
    why = str(wrong[0][1]) if wrong else ""
    return Verdict(right, tuple(d for d, _ in wrong), why, len(right) + len(wrong) == len(paths))


def _suspended(value: dict[str, Any]) -> Suspended:
    return Suspended(value["uuid"], value["name"], value["why"])
