"""Domains that could not start because their storage did not answer, for one more try.

Only domains with autostart are tried, and only where the operator asked for it
(`retry_autostart`): meanwhile somebody may have started them on another host.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import errors, events, statefile
from .lun import Portal

log = logging.getLogger("kvmlun.retry")

FOLDER = Path("/run/kvmlun/unstarted")
_PAUSE_SECONDS, _PAUSE_MAX = 30.0, 600.0


@dataclass(frozen=True)
class Unstarted:
    """A domain and the portals that it waits for."""

    uuid: str
    name: str
    portals: tuple[str, ...]


class Retry:
    """Keeps them in /run, so that a restart of the daemon forgets none."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._next: dict[str, tuple[float, float]] = {}  # when to try again, and the pause before
        self._waiting = {d.uuid: d for _, d in statefile.read_all(folder, _unstarted)}

    @property
    def waiting(self) -> tuple[Unstarted, ...]:
        return tuple(self._waiting.values())

    def put(self, uuid: str, name: str, portals: Iterable[Portal]) -> None:
        """Remember a domain; raises errors.Storage."""
        domain = Unstarted(uuid, name, tuple(dict.fromkeys(p.address for p in portals)))
        statefile.write(self._folder / f"{uuid}.json", asdict(domain), sync=False)
        self._waiting[uuid] = domain

    def drop(self, uuid: str) -> None:
        self._next.pop(uuid, None)
        if self._waiting.pop(uuid, None):
            statefile.remove(self._folder / f"{uuid}.json")

    def clear(self) -> None:
        """Forget all; what can't be removed from /run is still known to the next daemon."""
        for domain in self.waiting:
            try:
                self.drop(domain.uuid)
            except errors.Storage as problem:
                log.warning("%s may still be started here: %s", domain.name, problem)

    @property
    def due(self) -> tuple[Unstarted, ...]:
        """Those that were not tried a short while ago; the while doubles with each try."""
        now = time.monotonic()
        return tuple(d for d in self.waiting if self._next.get(d.uuid, (0.0, 0.0))[0] <= now)

    async def run(
        self,
        answers: Callable[[Portal], Awaitable[bool]],
        start: Callable[[str], Awaitable[bool]],
    ) -> None:
        """Try all whose portals answer; `start` tells whether a domain is to be tried at all."""
        for domain in self.due:
            found = await asyncio.gather(*(answers(Portal.parse(p)) for p in domain.portals))
            if not any(found):
                continue
            pause = min(2 * self._next.get(domain.uuid, (0.0, _PAUSE_SECONDS / 2))[1], _PAUSE_MAX)
            self._next[domain.uuid] = time.monotonic() + pause, pause
            with events.about(domain=domain.name, operation="retry"):
                await self._start(domain, start)

    async def _start(self, domain: Unstarted, start: Callable[[str], Awaitable[bool]]) -> None:
        told = "%s: its storage answers again, starting it"
        log.info(told, domain.name, extra=events.RETRIED())
        try:
            if not await start(domain.uuid):
                self.drop(domain.uuid)
        except errors.Storage as error:
            log.warning("%s: %s", domain.name, error)


def _unstarted(value: dict[str, Any]) -> Unstarted:
    return Unstarted(value["uuid"], value["name"], tuple(value["portals"]))
