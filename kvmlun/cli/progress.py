"""What a command waits for, on a line of the terminal that goes when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from .. import errors
from ..steps import SHOWN_SECONDS
from ..wait import within
from . import interrupt, looks, render, waiting

if TYPE_CHECKING:
    from ..apart import Waits
    from ..client import Client

_ERASE = "\r\x1b[K"


class Line:
    """It is drawn by :meth:`draw`, anew each second as long as something is waited for."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._waiting: dict[str, Any] | None = None
        self._written = False
        self._changed = asyncio.Event()

    @property
    def moves(self) -> bool:
        """In a pipe nothing is drawn."""
        return looks.of(self._stream).moves

    def tell(self, waiting: dict[str, Any] | None) -> None:
        """Show what is waited for, as Client.waiting() has it; None for nothing."""
        self._waiting = waiting
        self._changed.set()

    async def draw(self) -> None:
        while True:
            self._changed.clear()
            if now := self._waiting:
                self.write(now["step"], time.time() - now["since"])
            else:
                self.erase()
            with contextlib.suppress(TimeoutError):
                await within(self._changed.wait(), 1.0 if self._waiting else None)

    def write(self, step: str, seconds: float) -> None:
        """Show once what has been waited for so long."""
        width, text = looks.of(self._stream).width, waiting.sentence(step, seconds)
        self._put(render.shorten(errors.printable(text), width and width - 1))
        self._written = True

    def erase(self) -> None:
        if self._written:
            self._put("")
        self._written = False

    def _put(self, text: str) -> None:
        self._stream.write(f"{_ERASE}{text}")
        self._stream.flush()


@contextlib.asynccontextmanager
async def drawn(line: Line) -> AsyncIterator[Line]:
    """Draw a line meanwhile."""
    if not line.moves:
        yield line
        return
    try:
        async with _meanwhile(line.draw()):
            yield line
    finally:
        line.erase()


@contextlib.contextmanager
def written(stream: TextIO | None = None) -> Iterator[Waits]:
    """Give what shows how long something has been waited for, to who lets no other task run.

    Ctrl-C ends that at once.
    """
    line = Line(stream)
    with interrupt.at_once():
        try:
            yield line.write if line.moves else lambda _step, _seconds: None
        finally:
            line.erase()


@contextlib.asynccontextmanager
async def said(step: str, stream: TextIO | None = None) -> AsyncIterator[None]:
    """Show meanwhile that `step` is waited for, once it takes long."""
    waiting = {"step": step, "since": time.time()}
    async with drawn(Line(stream)) as line:
        soon = asyncio.get_running_loop().call_later(SHOWN_SECONDS, line.tell, waiting)
        try:
            yield
        finally:
            soon.cancel()


@contextlib.asynccontextmanager
async def shown(
    client: Client, operation: str, subject: str, stream: TextIO | None = None
) -> AsyncIterator[None]:
    """Show what the daemon's `operation` for `subject` waits for meanwhile; not in a pipe."""
    async with drawn(Line(stream)) as line:
        if not line.moves:
            yield
            return
        async with _meanwhile(_follow(client, operation, subject, line)):
            yield


async def _follow(client: Client, operation: str, subject: str, line: Line) -> None:
    woken = asyncio.Event()
    await client.listen(woken.set)
    while True:
        woken.clear()
        found = (
            each
            for each in await client.waiting()
            if (each["operation"], each["subject"]) == (operation, subject)
        )
        line.tell(next(found, None))
        await woken.wait()


@contextlib.asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        # It is beside the point that this fails, and what it was for will say why.
        with contextlib.suppress(asyncio.CancelledError, errors.Error):
            await task
