"""Looking after running domains: each in a task of its own, when it is due or in doubt."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from . import events
from .request import Request

log = logging.getLogger("kvmlun.rounds")


@dataclass(frozen=True)
class Watched:
    """A running domain and what its disks have to be."""

    uuid: str
    name: str
    requests: tuple[Request, ...]


class Rounds:
    """Calls `visit` for a domain, which tells whether all was well. One that takes long holds
    up no other."""

    def __init__(self, visit: Callable[[Watched], Awaitable[bool]]) -> None:
        self._visit = visit
        self._going: dict[str, asyncio.Task[None]] = {}
        self._began: dict[str, float] = {}  # when (monotonic) a domain's last good visit began
        self._doubts: dict[str, float] = {}  # since when a target, or a domain, is in doubt

    @property
    def busy(self) -> bool:
        return bool(self._going)

    def doubt(self, what: str) -> None:
        """Something may have happened to a target (its name) or a domain (its UUID)."""
        self._doubts[what] = time.monotonic()

    def doubt_all(self) -> None:
        self._began.clear()

    def due(self, domain: Watched, period: float) -> bool:
        """Tell whether it is time to visit a domain; `period` in seconds."""
        began = self._began.get(domain.uuid, -math.inf)
        about = [domain.uuid, *(request.lun.address.target for request in domain.requests)]
        doubted = (self._doubts.get(what, -math.inf) for what in about)
        return time.monotonic() >= began + period or any(began <= doubt for doubt in doubted)

    def look(self, domains: Iterable[Watched], period: Callable[[Watched], float]) -> None:
        """Begin to visit those that are due; `period` tells how often each is (seconds)."""
        domains = list(domains)
        for gone in self._began.keys() - {domain.uuid for domain in domains}:
            del self._began[gone]
        for domain in domains:
            due = domain.uuid not in self._going and self.due(domain, period(domain))
            if domain.requests and due:
                task = asyncio.ensure_future(self._go(domain))
                self._going[domain.uuid] = task
                task.add_done_callback(functools.partial(self._gone, domain))

    async def _go(self, domain: Watched) -> None:
        began = time.monotonic()
        with events.about(domain=domain.name, operation="watch"):
            if await self._visit(domain):
                self._began[domain.uuid] = began

    def _gone(self, domain: Watched, task: asyncio.Task[None]) -> None:
        del self._going[domain.uuid]
        failure = None if task.cancelled() else task.exception()
        if failure:
            log.error("%s: its LUNs can't be looked after", domain.name, exc_info=failure)
