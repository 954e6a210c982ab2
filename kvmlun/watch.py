"""Following what raises no event that could be waited for: sessions that drop and come back.

And after them, and now and then, having the disks of running domains proven and their
reservations looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from . import events, hookproto, sysfs
from .guard import Guard
from .hold import Hold
from .rounds import Watched
from .tally import Tally
from .wait import within

log = logging.getLogger("kvmlun.watch")

# A session that drops is to be shown within two seconds.
_SECONDS = 1.0
# One that comes back leads to whatever is there now, and the guest goes on writing at once.
_DOWN_SECONDS = 0.1
_BUSY_SECONDS = 2.0


class Watch:
    """`running` returns the domains that run here, None before they are known, and `arrive` sees to
    those that a migration brought; `period` (seconds) is how often all is looked at; `kick` and
    `show` are the manager's.
    """

    def __init__(
        self,
        guard: Guard,
        hold: Hold,
        running: Callable[[], list[Watched] | None],
        arrive: Callable[[], None],
        period: Callable[[], float],
        kick: Callable[[], None],
        show: Callable[[], None],
        tally: Tally,
    ) -> None:
        self._guard = guard
        self._hold = hold
        self._running = running
        self._arrive = arrive
        self._period = period
        self._kick = kick
        self._show = show
        self._tally = tally
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Other domains may run here now."""
        self._wake.set()

    def configured(self) -> None:
        """Other LUNs may have to be fenced, or none."""
        self._hold.doubt_all()
        self._wake.set()

    def turned(self, uuid: str) -> None:
        """A domain began to run, or stood still, perhaps for another host's reservation."""
        self._hold.doubt(uuid)
        self._wake.set()

    async def run(self) -> None:
        await asyncio.gather(self._sessions(), self._domains())

    async def _sessions(self) -> None:
        before: dict[int, str] = {}
        while True:
            states = sysfs.states()
            changed = {sid for sid, state in states.items() if before.get(sid, state) != state}
            for sid in changed:
                log.warning(
                    "session %d%s: %s -> %s", sid, _with(sysfs.session(sid)), before[sid],
                    states[sid], extra=events.SESSION_CHANGED(),
                )  # fmt: skip
                # One that is logged out goes from here, by way of another state (FREE).
                self._tally.drops += states[sid] == sysfs.FAILED
            for sid in changed | (states.keys() - before.keys()):
                if states[sid] == sysfs.LOGGED_IN and (session := sysfs.session(sid)):
                    self._guard.doubt(session.target)
                    self._hold.doubt(session.target)
                    self._wake.set()
            if changed:
                # Not after the next look at everything, which waits for libvirt.
                self._show()
            if states != before:
                self._kick()
            before = states
            down = any(state != sysfs.LOGGED_IN for state in states.values())
            await asyncio.sleep(_DOWN_SECONDS if down else _SECONDS)

    async def _domains(self) -> None:
        while True:
            self._wake.clear()
            self._arrive()
            running = self._running()
            if running is not None:
                # What the operator has started unchecked is left alone here as well.
                unchecked = {path.name for path in Path(hookproto.BYPASS).glob("*")}
                watched = [domain for domain in running if domain.uuid not in unchecked]
                self._guard.look(watched, self._period())
                self._hold.look(watched, self._period())
            # Who runs is known soon after the start.
            soon = running is None or self._guard.is_uneasy or self._hold.is_uneasy
            with contextlib.suppress(TimeoutError):
                await within(self._wake.wait(), _BUSY_SECONDS if soon else self._period())


def _with(session: sysfs.Session | None) -> str:
    return f" to {session.target} at {session.portal}" if session else ""
