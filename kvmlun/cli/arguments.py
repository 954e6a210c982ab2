"""Arguments that several verbs take.

A verb's parser says what runs it: `run`, a coroutine function of a client and the arguments, or
`here`, a function of the arguments that needs no daemon. Both return the text to be printed.
"""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, TypeAlias

from .. import config

if TYPE_CHECKING:
    # As argparse calls it, and only its stubs give it a parameter.
    Verbs: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]


def json_option(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def secret_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--secret", type=_name, metavar="NAME", help="the CHAP credentials in /etc/kvmlun/secrets"
    )


def number(text: str) -> int:
    """Convert an argument to a number that D-Bus can carry, as of seconds."""
    value = int(text)
    if not 0 <= value < 2**32:
        raise ValueError
    return value


def count(text: str) -> int:
    """Convert an argument to how many lines are wanted."""
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def _name(text: str) -> str:
    if not re.fullmatch(config.NAME, text):
        raise argparse.ArgumentTypeError("a secret's name has letters, digits, '_', '.' and '-'")
    return text
