"""A picture of the daemon's state that is drawn anew at each change."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from .. import errors
from ..wait import within
from . import looks, render, waiting
from .looks import Looks

if TYPE_CHECKING:
    from ..client import Client

Picture = Callable[[dict[str, Any], Looks], str]

# Changes come in bursts; one picture will do for them.
_SOAK_SECONDS = 0.2
_TICK_SECONDS = 1.0  # for what is shown with how long it has lasted
_HOME, _END_OF_LINE, _REST = "\x1b[H", "\x1b[K\n", "\x1b[J"
# Another screen, without a cursor; what is too long is cut, and takes no second line.
_BEGIN, _END = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"


async def show(client: Client, picture: Picture, stream: TextIO) -> None:
    """Draw until SIGINT or SIGTERM. Raises errors.Unreachable where there is no daemon at first.

    Where the cursor can't be moved, as in a pipe, each new picture follows the one before.
    """
    woken, task, loop = asyncio.Event(), asyncio.current_task(), asyncio.get_running_loop()
    assert task
    await client.listen(woken.set)
    status, stale = await client.status(reservations=False), ""
    loop.add_signal_handler(signal.SIGWINCH, woken.set)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError), _screen(stream) as draw:
        while True:
            draw(lambda how: picture(status, how) + _note(stale, how))
            # Nothing is asked again while nothing has changed: only seconds pass.
            silent = stale and client.is_served
            with contextlib.suppress(TimeoutError):
                await within(woken.wait(), _TICK_SECONDS if silent or status["waiting"] else None)
            if not woken.is_set() and not silent:
                continue
            await asyncio.sleep(_SOAK_SECONDS)
            woken.clear()
            made = await waiting.answer(client, lambda: client.status(reservations=False))
            stale = str(made) if isinstance(made, errors.Error) else ""
            status = status if isinstance(made, errors.Error) else made


def _note(stale: str, how: Looks) -> str:
    return f"\n{render.wrap(f'{stale}; this is as it was', how.width)}" if stale else ""


@contextlib.contextmanager
def _screen(stream: TextIO) -> Iterator[Callable[[Callable[[Looks], str]], None]]:
    before = ""

    def draw(text: Callable[[Looks], str]) -> None:
        nonlocal before
        how = looks.of(stream)
        told = text(how)
        if how.moves:
            stream.write(frame(told, how))
        elif told != before:
            stream.write(f"\n{told}" if before else told)
        before = told
        stream.flush()

    moves = looks.of(stream).moves
    stream.write(_BEGIN if moves else "")
    try:
        yield draw
    finally:
        stream.write(_END if moves else "")
        stream.flush()


def frame(text: str, how: Looks) -> str:
    """Return what replaces the picture on a terminal: no more lines than it has."""
    lines = text.splitlines()
    if how.height and len(lines) > how.height - 1:
        kept = max(how.height - 2, 0)
        lines = [*lines[:kept], f"… {len(lines) - kept} more lines"]
    return _HOME + "".join(line + _END_OF_LINE for line in lines) + _REST
