"""What a command waits for, on a line of the terminal that goes when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, TextIO

from .. import errors
from ..wait import within
from . import looks, render, waiting

if TYPE_CHECKING:
    from ..client import Client

_ERASE = "\r\x1b[K"


@contextlib.asynccontextmanager
async def shown(
    client: Client, operation: str, subject: str, stream: TextIO | None = None
) -> AsyncIterator[None]:
    """Show what the daemon's `operation` for `subject` waits for meanwhile; not in a pipe."""
    stream = stream or sys.stderr
    if not looks.of(stream).moves:
        yield
        return
    telling = asyncio.ensure_future(_tell(client, operation, subject, stream))
    try:
        yield
    finally:
        telling.cancel()
        # It is beside the point that this fails, and what it was for will say why.
        with contextlib.suppress(asyncio.CancelledError, errors.Error):
            await telling
        stream.write(_ERASE)
        stream.flush()


async def _tell(client: Client, operation: str, subject: str, stream: TextIO) -> None:
    woken = asyncio.Event()
    await client.listen(woken.set)
    while True:
        woken.clear()
        found = [
            each
            for each in await client.waiting()
            if (each["operation"], each["subject"]) == (operation, subject)
        ]
        while not woken.is_set():
            text = waiting.sentence(found[0], time.time()) if found else ""
            width = looks.of(stream).width
            stream.write(_ERASE + render.shorten(errors.printable(text), width and width - 1))
            stream.flush()
            with contextlib.suppress(TimeoutError):
                await within(woken.wait(), 1.0 if found else None)
