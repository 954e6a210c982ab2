"""Metrics where the settings ask for them: gathered, written and served, from this daemon."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING

from . import errors, status
from .leases import Leases
from .manager import Manager
from .metricsfile import MetricsFile
from .wait import within

if TYPE_CHECKING:
    from .metrics import Metrics, Seen
    from .metricsserver import MetricsServer

log = logging.getLogger("kvmlun.exporter")

# Prometheus asks as often at the most, and looking at everything costs time.
_WRITE_SECONDS = 10.0
_FRESH_SECONDS = 1.0


class Exporter:
    """Nothing that fails here is a reason for the daemon to end: VMs depend on that one."""

    def __init__(self, manager: Manager, leases: Leases) -> None:
        self._manager = manager
        self._leases = leases
        self._wake = asyncio.Event()
        self._followed: tuple[str | None, str | None] = (None, None)
        self._file: MetricsFile | None = None
        self._listening: str | None = None
        self._server: MetricsServer | None = None
        self._problems: dict[str, str] = {}
        self._made: tuple[float, Metrics] = (-_FRESH_SECONDS, [])

    def refresh(self) -> None:
        """Follow the settings soon, if they have changed."""
        if self._followed != self._wanted:
            self._wake.set()

    @property
    def _wanted(self) -> tuple[str | None, str | None]:
        settings = self._manager.config.settings
        return settings.metrics_folder, settings.metrics_listen

    async def run(self) -> None:
        """Write and serve for ever; at the end nothing is left that would mislead."""
        try:
            while True:
                self._wake.clear()
                folder, listen = self._followed = self._wanted
                await self._tried("file", self._write(folder))
                await self._tried("server", self._listen(listen))
                with contextlib.suppress(TimeoutError):
                    await within(self._wake.wait(), _WRITE_SECONDS)
        finally:
            self._stop_writing()
            if self._server:
                self._server.close()

    async def _tried(self, what: str, doing: Coroutine[None, None, None]) -> None:
        problem = ""
        try:
            await doing
        except errors.Storage as error:
            problem = str(error)
            if problem != self._problems.get(what):
                log.warning("%s", problem)
        except Exception:
            log.exception("metrics: the %s failed", what)
        self._problems[what] = problem

    async def _write(self, where: str | None) -> None:
        folder = Path(where) if where else None
        if self._file and self._file.folder != folder:
            self._stop_writing()
        if folder:
            _, text = self._exposition("")
            self._file = self._file or MetricsFile(folder)
            await asyncio.to_thread(self._file.write, text)

    def _stop_writing(self) -> None:
        if self._file:
            self._file.remove()
            self._file = None

    async def _listen(self, where: str | None) -> None:
        if where == self._listening:
            return
        if self._server:
            self._server.close()
        self._server = self._listening = None
        if where:
            # Here, since it takes time and most hosts do without.
            from .metricsserver import MetricsServer

            self._server = MetricsServer(self._exposition)
            await self._server.listen(where)
            self._listening = where
            log.info("metrics at %s", where)

    def _exposition(self, accept: str) -> tuple[str, bytes]:
        from . import metrics

        made, found = self._made
        if time.monotonic() - made >= _FRESH_SECONDS:
            found = metrics.metrics(self._seen(), self._manager.tally)
            self._made = time.monotonic(), found
        return metrics.exposition(found, accept)

    def _seen(self) -> Seen:
        from .metrics import Seen

        manager = self._manager
        view, config = manager.world.view(), manager.config
        return Seen(
            sessions=status.sessions(view, config),
            luns=status.luns(view, config),
            roles=[lease.role for lease in self._leases.all],
            lacking=len(manager.lacking_paths()),
            suspended=len(manager.guard.suspended),
            fencing_problems=len(manager.fencing_problems),
            libvirt_up=manager.domains.is_known,
            config_valid=not manager.configuration.problem,
            drained=manager.drain.since is not None,
        )
