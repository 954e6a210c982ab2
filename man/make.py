"""Writes the man pages: what stands in this folder, with the parts that the program knows itself.

``python3 -m man.make FOLDER``. The date is SOURCE_DATE_EPOCH's, if set.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kvmlun import __version__, cli, errors, schema

HERE = Path(__file__).parent


def page(source: Path) -> str:
    """Return a page in man(7), with each line ``.\\" @NAME@`` replaced by the part of that name."""
    text = source.read_text(encoding="utf-8")
    for name, make in _PARTS.items():
        mark = f'.\\" @{name}@\n'
        if mark in text:
            text = text.replace(mark, "".join(f"{line}\n" for line in make()))
    return text.replace("@DATE@", _date()).replace("@VERSION@", __version__)


def _date() -> str:
    now = os.environ.get("SOURCE_DATE_EPOCH", time.time())
    return time.strftime("%Y-%m-%d", time.gmtime(int(now)))


def _commands() -> Iterator[str]:
    for parser, told in leaves(cli.parser()):
        usage = parser.format_usage().removeprefix("usage: ").replace("[-h]", "")
        yield from (".TP", f".B {_roff(' '.join(usage.split()))}", _roff(_sentence(told)))
        shown = [each for each in parser._actions if each.help and each.dest != "help"]
        yield from _options(shown)


def leaves(parser: argparse.ArgumentParser) -> Iterator[tuple[argparse.ArgumentParser, str]]:
    """Yield each parser that runs something, with its help, which its parent has."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                below = action.choices[choice.dest]
                found = list(leaves(below))
                yield from found or [(below, choice.help or "")]


def _options(actions: list[argparse.Action]) -> Iterator[str]:
    if not actions:
        return
    yield ".RS"
    for action in actions:
        names = ", ".join(action.option_strings) or str(action.metavar)
        value = f" {action.metavar or action.dest.upper()}" if _takes_value(action) else ""
        yield from (".TP", f".B {_roff(names + value)}", _roff(_sentence(action.help or "")))
    yield ".RE"


def _takes_value(action: argparse.Action) -> bool:
    return bool(action.option_strings) and action.nargs != 0


def _status() -> Iterator[str]:
    for code in errors.Exit:
        yield from (".TP", f".B {code}", _roff(_sentence(code.meaning)))


def _keys(members: Mapping[str, Any], required: list[str]) -> Iterator[str]:
    for name, member in members.items():
        default = "required" if name in required else _default(member)
        yield from (".TP", f'.BR {name} " ({default})"' if default else f".B {name}")
        yield _roff(member["description"])


def _default(member: Mapping[str, Any]) -> str:
    value = member.get("default")
    if value is None:
        return ""
    unit = " s" if member.get("$ref") == "#/$defs/seconds" else ""
    return f"{str(value).lower()}{unit}"


def _settings() -> Iterator[str]:
    return _keys(schema.document()["properties"]["settings"]["properties"], [])


def _volume() -> Iterator[str]:
    volume = schema.document()["$defs"]["volume"]
    return _keys(volume["properties"], volume["required"])


def _sentence(text: str) -> str:
    """Return a text of the program's, which begins small and ends open."""
    return text[:1].upper() + text[1:] + ("" if text.endswith("…") else ".")


def _roff(text: str) -> str:
    """Return text as roff takes it: hyphens that can be copied, and no requests."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "\\&...")
    return f"\\&{text}" if text.startswith((".", "'")) else text


_PARTS = {"COMMANDS": _commands, "STATUS": _status, "SETTINGS": _settings, "VOLUME": _volume}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(HERE.glob("*.[1-8]")):
        (folder / source.name).write_text(page(source), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
