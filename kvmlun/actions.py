"""Doing what reconcile has decided, and what is left of it for who wants it done now."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from . import errors, events
from .reconcile import Action, DropMarker, EndSession, ForgetEntry, ForgetMap, Plan, RemoveDisk
from .wait import Changes, Deadline

log = logging.getLogger("kvmlun.actions")

# Clients of D-Bus wait 25 s for an answer unless they are told otherwise.
_SECONDS = 20.0


@dataclass(frozen=True)
class Left:
    """Something that is to be done in `seconds`, 0 if it is due; `problem` kept it from being done.

    `action` is one of _NAMES; `target` and `device` are "" where it has none.
    """

    action: str
    target: str
    device: str
    seconds: float
    problem: str


_NAMES: dict[type[Action], str] = {
    EndSession: "end-session",
    RemoveDisk: "remove-disk",
    ForgetEntry: "forget-record",
    DropMarker: "drop-mark",
    ForgetMap: "forget-map",
}


class Actions:
    """Has each action done by `act`, one at a time; what fails is decided on again later.

    `kick` has everything looked at soon; `blind` says why nothing can be decided now, if so;
    `user` tells which domain needed a target last.
    """

    def __init__(
        self,
        act: Callable[[Action], Awaitable[None]],
        kick: Callable[[], None],
        blind: Callable[[], str],
        user: Callable[[str], str],
    ) -> None:
        self._act = act
        self._kick = kick
        self._blind = blind
        self._user = user
        self._going: dict[Action, asyncio.Task[None]] = {}
        self._due: dict[Action, float] = {}  # when (monotonic) what the last plan has is due
        self._problems: dict[Action, str] = {}  # of what was tried and is still to be done
        self._begun = self._ended = self._done = 0
        self._changes = Changes()

    @contextlib.contextmanager
    def look(self) -> Iterator[None]:
        """Surrounds one look at everything, in which start() may be called."""
        self._begun += 1
        number = self._begun
        try:
            yield
        finally:
            self._ended = number
            self._changes.signal()

    def start(self, plan: Plan, now: float, grace: float) -> None:
        """Begin what is due of a plan made with `now` (monotonic) and `grace` (seconds)."""
        self._due = dict.fromkeys(plan.actions, now)
        self._due |= {action: since + grace for action, since in plan.idle.items()}
        for action in self._problems.keys() - self._due.keys():
            del self._problems[action]
        for action in plan.actions:
            if action not in self._going:
                task = asyncio.ensure_future(self._begin(action))
                self._going[action] = task
                task.add_done_callback(functools.partial(self._acted, action))

    async def _begin(self, action: Action) -> None:
        with events.about(**self._about(action)):
            await self._act(action)

    def _acted(self, action: Action, task: asyncio.Task[None]) -> None:
        del self._going[action]
        failure = None if task.cancelled() else task.exception()
        if failure is None:
            self._done += 1
            self._due.pop(action, None)
            self._kick()
        elif isinstance(failure, errors.Error):
            if self._problems.get(action) != str(failure):
                told = events.POSTPONED(**self._about(action))
                log.info("postponed: %s", failure, extra=told)
            self._problems[action] = str(failure)
        else:
            log.error("%s failed", action, exc_info=failure)
            self._problems[action] = errors.INTERNAL
        self._changes.signal()

    def _about(self, action: Action) -> dict[str, str]:
        return {
            "domain": self._user(_target(action)),
            "wwid": action.disk.wwid if isinstance(action, RemoveDisk) else "",
            "operation": _NAMES[type(action)],
        }

    async def all_due(self) -> list[Left]:
        """Have everything looked at and done that is due, and return what is left.

        That is what is not due yet, what could not be done, and what takes longer than clients
        wait. Raises errors.Storage if nothing can be decided.
        """
        deadline, before = Deadline(_SECONDS), -1
        # What was done may make more due, as the end of a session does with its record.
        while before != self._done and deadline.left:
            before = self._done
            await self._a_look(deadline)
            with contextlib.suppress(errors.Timeout):
                await self._changes.until(lambda: not self._going, deadline, "what is due")
        if problem := self._blind():
            raise errors.Storage(f"{problem}; nothing is logged out until it answers")
        now = time.monotonic()
        return [
            _left(action, max(0.0, due - now), self._problems.get(action, ""))
            for action, due in self._due.items()
        ]

    async def _a_look(self, deadline: Deadline) -> None:
        """Return when a look has ended that began after now; raises errors.Timeout."""
        number = self._begun + 1
        self._kick()
        what = "a look at everything on this host"
        await self._changes.until(lambda: self._ended >= number, deadline, what)


def _left(action: Action, seconds: float, problem: str) -> Left:
    device = ""
    if isinstance(action, RemoveDisk):
        device = action.disk.node
    elif isinstance(action, DropMarker):
        device = action.id_path
    elif isinstance(action, ForgetMap):
        device = action.uuid
    return Left(_NAMES[type(action)], _target(action), device, seconds, problem)


def _target(action: Action) -> str:
    if isinstance(action, EndSession | RemoveDisk):
        return action.session.target
    return action.entry.target if isinstance(action, ForgetEntry) else ""
