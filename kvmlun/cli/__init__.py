"""The ``kvmlun`` command: one module for each group of verbs, with their parsers."""

from __future__ import annotations

import argparse
import asyncio
import io
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
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What a terminal has no character for is no reason to tell nothing.
        sys.stdout.reconfigure(errors="replace")
    known = parser()
    if "_ARGCOMPLETE" in os.environ:
        from . import complete

        complete.answer(known)
    arguments = known.parse_args(argv)
    try:
        here = getattr(arguments, "here", None)
        print(here(arguments) if here else asyncio.run(_run(arguments)), end="")
    except errors.Error as error:
        return _ended(error.code, str(error))
    except OSError as error:
        return _unwritten(errors.Exit.OK, error)
    except KeyboardInterrupt:
        return errors.Exit.INTERRUPTED
    return _ended(errors.Exit.OK)


def _ended(code: errors.Exit, problem: str = "") -> errors.Exit:
    """Have what was printed go before the line that ends the command."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError as error:
        code = _unwritten(code, error)
    if problem:
        print(f"kvmlun: {problem}", file=sys.stderr)
    return code


def _unwritten(code: errors.Exit, problem: OSError) -> errors.Exit:
    # What is left is not to be tried, and complained of, at the interpreter's end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(problem, BrokenPipeError):
        return code
    print(f"kvmlun: {errors.one_line(str(problem))}", file=sys.stderr)
    return code or errors.Exit.FAILED


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
