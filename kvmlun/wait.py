"""Waiting for a condition of the world, bounded by a deadline, woken by events."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from typing import Any, TypeVar

from . import errors
from .steps import step

T = TypeVar("T")


class Deadline:
    """A moment on the monotonic clock until which something may take."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())


async def within(awaitable: Awaitable[T], seconds: float | None) -> T:
    """Await for at most some seconds; raises TimeoutError.

    asyncio.wait_for() loses a cancellation that comes in the moment of the result, before Python
    3.12 (github.com/python/cpython/issues/86296): who is then cancelled goes on for ever.
    """
    async with asyncio.timeout(seconds):
        return await awaitable


@contextlib.asynccontextmanager
async def turn(
    lock: asyncio.Lock | asyncio.Semaphore, what: str, deadline: Deadline
) -> AsyncIterator[None]:
    """Hold `lock`; raises errors.Timeout that names `what` if it can't be had in time."""
    try:
        with step(what) if lock.locked() else contextlib.nullcontext():
            await within(lock.acquire(), deadline.left)
    except TimeoutError:
        raise errors.Timeout(f"{what} took too long") from None
    try:
        yield
    finally:
        lock.release()


class Changes:
    """A signal that something may have changed; every waiter looks for itself what."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def signal(self) -> None:
        self._event.set()
        self._event = asyncio.Event()

    async def until(
        self, condition: Callable[[], T | None], deadline: Deadline, what: str, poll: float = 1.0
    ) -> T:
        """Return the first true value of `condition`, looked at after each signal.

        It is looked at every `poll` seconds as well, for what has no event.
        Raises errors.Timeout that names `what`.
        """
        event = self._event
        if value := condition():
            return value
        with step(what):
            while deadline.left:
                with contextlib.suppress(TimeoutError):
                    await within(event.wait(), min(poll, deadline.left))
                event = self._event
                if value := condition():
                    return value
        raise errors.Timeout(f"{what} took too long")


class Precedence:
    """Lets work that can wait wait for work that somebody waits for."""

    def __init__(self) -> None:
        self._holders = 0
        self._free = asyncio.Event()
        self._free.set()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        self._holders += 1
        self._free.clear()
        try:
            yield
        finally:
            self._holders -= 1
            if not self._holders:
                self._free.set()

    async def free(self, seconds: float) -> None:
        """Return when nobody holds it, at the latest after `seconds`."""
        with contextlib.suppress(TimeoutError):
            await within(self._free.wait(), seconds)


async def enough(
    calls: Iterable[Coroutine[Any, Any, T]], wanted: int, patience: float
) -> tuple[list[T], list[BaseException]]:
    """Await calls side by side; return the results and the errors of those that ended.

    Once `wanted` have succeeded the others have `patience` seconds more, and are cancelled then.
    Until then there is no limit: each call has its own.
    """
    pending = {asyncio.ensure_future(call) for call in calls}
    found: list[T] = []
    problems: list[BaseException] = []
    try:
        while pending:
            limit = patience if len(found) >= wanted else None
            done, pending = await asyncio.wait(
                pending, timeout=limit, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            for task in done:
                if problem := task.exception():
                    problems.append(problem)
                else:
                    found.append(task.result())
    finally:
        for task in pending:
            task.cancel()
    return found, problems
