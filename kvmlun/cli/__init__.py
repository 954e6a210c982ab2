"""The ``kvmlun`` command: one module for each group of verbs, with their parsers."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from .. import __version__, errors
from . import (
    check,
    connections,
    diskxml,
    doctor,
    events,
    explain,
    graph,
    host,
    loglevel,
    status,
    takeover,
    volume,
)

# In the order in which the help lists them.
_GROUPS = (
    status, explain, events, graph, volume, takeover, check, doctor, diskxml, connections, host,
    loglevel,
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (errors.Exit)."""
    known = parser()
    if "_ARGCOMPLETE" in os.environ:
        from . import complete

        complete.answer(known)
    arguments = known.parse_args(argv)
    try:
        here = getattr(arguments, "here", None)
        print(here(arguments) if here else asyncio.run(_run(arguments)), end="", flush=True)
    except errors.Error as error:
        print(f"kvmlun: {error}", file=sys.stderr)
        return error.code
    except BrokenPipeError:
        # What is left is not to be tried, and complained of, at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return errors.Exit.INTERRUPTED
    return errors.Exit.OK


def parser() -> argparse.ArgumentParser:
    """Return the parser, of which the man page and the shells' completion are made as well."""
    made = argparse.ArgumentParser(prog="kvmlun", description="iSCSI LUNs of libvirt VMs")
    made.add_argument("--version", action="version", version=f"kvmlun {__version__}")
    verbs = made.add_subparsers(required=True, metavar="COMMAND")
    for group in _GROUPS:
        group.add(verbs)
    return made


async def _run(arguments: argparse.Namespace) -> str:
    # Here, since what needs no daemon need not wait for what speaks D-Bus.
    from ..client import Client

    async with Client() as client:
        return str(await arguments.run(client, arguments))
