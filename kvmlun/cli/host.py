"""``kvmlun host``: have this host take no more LUNs, and see who is left."""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
import time
from typing import TYPE_CHECKING

from .. import errors
from . import arguments, render, waiting

if TYPE_CHECKING:
    from ..client import Client

_POLL_SECONDS = 1.0


def add(verbs: arguments.Verbs) -> None:
    host = verbs.add_parser("host", help="take this host out of use, and into use again")
    nouns = host.add_subparsers(required=True, metavar="COMMAND")
    drain = nouns.add_parser("drain", help="refuse new LUNs from now on; prints who is left")
    drain.add_argument(
        "--wait", nargs="?", type=arguments.number, const=math.inf, default=0, metavar="SECONDS",
        help="wait until nobody is left (at the most for so long)",
    )  # fmt: skip
    arguments.json_option(drain)
    drain.set_defaults(run=_drain)
    resume = nouns.add_parser("resume", help="let LUNs come here again")
    resume.set_defaults(run=_resume)


async def _drain(client: Client, given: argparse.Namespace) -> str:
    """Print who is left, and end with an error while somebody is: ``drain && reboot`` is safe."""
    await client.drain()
    left = await _wait(client, time.monotonic() + given.wait)
    text = render.as_json(left) if given.json else render.lines(left)
    if not left:
        return text or "nobody is left\n"
    print(text, end="")
    raise errors.Left(f"no more LUNs come here; who has some is named above ({len(left)})")


async def _wait(client: Client, end: float) -> list[str]:
    """Return who is left at the `end` (monotonic), none before; a restart of kvmlund is no end."""
    await client.listen(lambda: None)
    told = ""
    while True:
        left = await waiting.answer(client, lambda: _left(client))
        if not left or time.monotonic() >= end:
            break
        if isinstance(left, errors.Error):
            text = f": {left}"
        else:
            text = f" for {', '.join(map(errors.printable, left))}"
        if text != told:
            print(f"kvmlun: waiting{text}", file=sys.stderr)
        told = text
        await asyncio.sleep(_POLL_SECONDS)
    if isinstance(left, errors.Error):
        raise left
    return left


async def _left(client: Client) -> list[str]:
    if not await client.drained_since():
        raise errors.Refused("somebody has ended it meanwhile: kvmlun host resume")
    return await client.holders()


async def _resume(client: Client, _given: argparse.Namespace) -> str:
    await client.resume()
    return ""
