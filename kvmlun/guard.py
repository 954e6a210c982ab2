"""Is what a running domain has open still its LUN? If not, it is suspended until it is again.

An array can exchange a LUN under a session, and nothing in the kernel tells the two apart. So the
proof of a start is made again after every recovery of a session, and now and then. What a guest
writes between the exchange and the proof is on the wrong LUN: nobody can take that back.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from . import errors, proof, statefile, sysfs
from .attach import find_disk
from .login import candidates
from .maps import Maps
from .request import Request
from .sysfs import Disk
from .worker import Workers

log = logging.getLogger("kvmlun.guard")

FOLDER = Path("/run/kvmlun/suspended")
_SECONDS = 10.0


@dataclass(frozen=True)
class Watched:
    """A running domain and what its disks have to be."""

    uuid: str
    name: str
    requests: tuple[Request, ...]


@dataclass(frozen=True)
class Suspended:
    """A domain that goes on when its LUNs are the right ones again."""

    uuid: str
    name: str
    why: str


class Domains(Protocol):
    """What libvirt has to do; both raise errors.Storage."""

    async def suspend(self, uuid: str) -> bool: ...
    async def resume(self, uuid: str) -> None: ...


class Guard:
    """Keeps in /run whom it suspended, so that a restart of the daemon forgets nobody."""

    def __init__(
        self, workers: Workers, maps: Maps, domains: Domains, folder: Path = FOLDER
    ) -> None:
        self._workers = workers
        self._maps = maps
        self._domains = domains
        self._folder = folder
        self._suspended = {s.uuid: s for _, s in statefile.read_all(folder, _suspended)}
        self._began: dict[str, float] = {}  # when (monotonic) a domain's last good proof began
        self._doubts: dict[str, float] = {}  # since when a target has to be proven again
        self._wrong: dict[str, frozenset[str]] = {}  # devices that are not a domain's LUNs

    @property
    def suspended(self) -> tuple[Suspended, ...]:
        return tuple(self._suspended.values())

    @property
    def exchanged(self) -> frozenset[str]:
        """Names of devices that are not the LUN that a running domain has to have."""
        return frozenset().union(*self._wrong.values())

    def doubt(self, target: str) -> None:
        """A session with this target was away: whatever it leads to now has to be proven."""
        self._doubts[target] = time.monotonic()

    def due(self, domain: Watched, period: float) -> bool:
        """Tell whether it is time to prove a domain's disks; `period` in seconds."""
        began = self._began.get(domain.uuid, -math.inf)
        doubted = (self._doubts.get(r.lun.address.target, -math.inf) for r in domain.requests)
        return time.monotonic() >= began + period or any(began <= doubt for doubt in doubted)

    async def look(self, domains: Iterable[Watched], period: float) -> bool:
        """Prove what is due; tell whether something is to be looked at again soon."""
        domains = list(domains)
        for gone in self._suspended.keys() - {domain.uuid for domain in domains}:
            self._forget(gone)
        self._wrong = {d.uuid: self._wrong.get(d.uuid, frozenset()) for d in domains}
        due = [domain for domain in domains if self.due(domain, period)]
        return not all(await asyncio.gather(*map(self._domain, due)))

    async def _domain(self, domain: Watched) -> bool:
        """Act on what a domain's disks are; tell whether there is nothing to wait for."""
        if not domain.requests:
            return True
        began, sessions = time.monotonic(), sysfs.sessions()
        verdicts = await asyncio.gather(
            *(self._verdict(request, sessions) for request in domain.requests)
        )
        self._wrong[domain.uuid] = frozenset(d.name for v in verdicts for d in v.wrong)
        try:
            for verdict in verdicts:
                if verdict.right:
                    for disk in verdict.wrong:
                        log.error("%s loses a path: %s", domain.name, verdict.why)
                        await self._maps.drop_path(disk)
            lost = next((verdict for verdict in verdicts if verdict.is_lost), None)
            if lost:
                await self._suspend(domain, lost.why)
            elif all(verdict.is_right for verdict in verdicts):
                await self._resume(domain, [disk for v in verdicts for disk in v.right])
                self._began[domain.uuid] = began
        except errors.Storage as problem:
            log.error("%s: %s", domain.name, problem)
            return False
        return all(verdict.is_right or verdict.is_silent for verdict in verdicts)

    async def _verdict(self, request: Request, sessions: tuple[sysfs.Session, ...]) -> Verdict:
        disks = _opened(request, sessions)
        told = await asyncio.gather(*(self._proof(request, disk) for disk in disks))
        return judge(list(zip(disks, told, strict=True)))

    async def _proof(self, request: Request, disk: Disk) -> errors.Error | None:
        try:
            facts = await self._workers.probe(disk.name, disk.number, _SECONDS)
            proof.identity(str(request), request.pinned, request.lun.address, facts, disk.node)
        except errors.Error as problem:
            return problem
        return None

    async def _suspend(self, domain: Watched, why: str) -> None:
        before = self._suspended.get(domain.uuid)
        noted = Suspended(domain.uuid, domain.name, why)
        statefile.write(self._folder / f"{domain.uuid}.json", asdict(noted))
        self._suspended[domain.uuid] = noted
        if await self._domains.suspend(domain.uuid):
            log.error("%s is suspended until the right LUN is back: %s", domain.name, why)
        elif before is None:
            log.error("%s is paused already: %s", domain.name, why)
            self._forget(domain.uuid)

    async def _resume(self, domain: Watched, disks: Iterable[Disk]) -> None:
        if domain.uuid not in self._suspended:
            return
        for disk in disks:
            # What the kernel and udev read meanwhile was another LUN's.
            await self._workers.call("rescan", disk.hctl, timeout=_SECONDS)
            await self._workers.call("change", disk.name, timeout=_SECONDS)
        await self._domains.resume(domain.uuid)
        self._forget(domain.uuid)
        log.warning("%s goes on: its LUNs are the right ones again", domain.name)

    def _forget(self, uuid: str) -> None:
        statefile.remove(self._folder / f"{uuid}.json")
        self._suspended.pop(uuid, None)


@dataclass(frozen=True)
class Verdict:
    """What the paths to one LUN turned out to be; one that could not be asked is in neither."""

    right: tuple[Disk, ...]
    wrong: tuple[Disk, ...]
    why: str
    complete: bool

    @property
    def is_lost(self) -> bool:
        """What the guest writes goes to another LUN, as far as anybody can tell."""
        return bool(self.wrong) and not self.right

    @property
    def is_right(self) -> bool:
        return self.complete and bool(self.right) and not self.wrong

    @property
    def is_silent(self) -> bool:
        """No path is up: the recovery of its session brings it here again."""
        return self.complete and not self.right and not self.wrong


def judge(paths: Sequence[tuple[Disk, errors.Error | None]]) -> Verdict:
    """Tell right paths from wrong ones by the error of each one's proof. Pure."""
    wrong = [(disk, told) for disk, told in paths if isinstance(told, errors.Stale)]
    right = tuple(disk for disk, told in paths if told is None)
    why = str(wrong[0][1]) if wrong else ""
    return Verdict(right, tuple(d for d, _ in wrong), why, len(right) + len(wrong) == len(paths))


def _opened(request: Request, sessions: tuple[sysfs.Session, ...]) -> list[Disk]:
    """Return the disks that a guest's I/O can go to: that of the link, or its map's paths.

    A link that went away with the identity of its disk leaves the disks of the address. What is
    behind a session that is down is left out: nothing can be asked of it, nor go there.
    """
    disks = [
        disk
        for session in candidates(request, sessions)
        if session.up and (disk := find_disk(session, request.lun))
    ]
    device = os.path.basename(os.path.realpath(request.link))
    return [disk for disk in disks if device in (disk.name, disk.map)] or disks


def _suspended(value: dict[str, Any]) -> Suspended:
    return Suspended(value["uuid"], value["name"], value["why"])
