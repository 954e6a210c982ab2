"""``kvmlun log-level``: how much kvmlund writes to the journal, until it ends."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .. import names
from . import arguments

if TYPE_CHECKING:
    from ..client import Client


def add(verbs: arguments.Verbs) -> None:
    parser = verbs.add_parser(
        "log-level", help="show or set what kvmlund writes to the journal, until it ends"
    )
    parser.add_argument("level", nargs="?", choices=names.LOG_LEVELS, metavar="LEVEL",
                        help=f"one of {', '.join(names.LOG_LEVELS)}")  # fmt: skip
    parser.set_defaults(run=_log_level)


async def _log_level(client: Client, given: argparse.Namespace) -> str:
    if given.level is None:
        return f"{await client.log_level()}\n"
    await client.set_log_level(given.level)
    return ""
