"""What a shell offers behind ``kvmlun``: taken from the parsers, and the names that are there now.

argcomplete's protocol; the shells' own halves are in completions/.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterator

from .. import commands, config, errors

_SECONDS = 2


def answer(parser: argparse.ArgumentParser) -> None:
    """Print what may follow, and end the process."""
    import argcomplete
    from argcomplete.completers import DirectoriesCompleter

    completers = {**_NAMES, "FOLDER": DirectoriesCompleter()}
    for action in _actions(parser):
        if completer := completers.get(str(action.metavar)):
            action.completer = completer  # type: ignore[attr-defined]
    argcomplete.autocomplete(parser, always_complete_options="long", default_completer=None)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _actions(below)


def _volumes(**_: object) -> list[str]:
    return sorted(config.read()[0].volumes)


def _domains(**_: object) -> list[str]:
    asked = ["virsh", "-c", "qemu:///system", "-r", "list", "--all", "--name"]
    try:
        listed = asyncio.run(commands.run(asked, _SECONDS)).out
    except errors.Error:
        return []
    # A name may have spaces; the last line is empty.
    return [name for name in listed.splitlines() if name]


# By the name that an argument has in the help.
_NAMES: dict[str, Callable[..., list[str]]] = {
    "VOLUME": _volumes,
    "VOLUME|BY-PATH-LINK": _volumes,
    "VM": _domains,
}
