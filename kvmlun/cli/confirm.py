"""Asking the operator before something is changed that cannot be taken back."""

from __future__ import annotations

import sys

from .. import errors
from . import interrupt


def confirm(told: str, consequence: str, confirmed: bool) -> None:
    """Show what would be done, and have it confirmed.

    Raises errors.Refused if it is not, KeyboardInterrupt for Ctrl-C.
    """
    if confirmed:
        return
    print(told, end="", file=sys.stderr)
    if not sys.stdin.isatty():
        raise errors.Refused("nothing was changed; --yes confirms")
    with interrupt.at_once():
        print(f"{consequence} Type yes: ", end="", flush=True)
        answer = sys.stdin.readline().strip()
    if answer != "yes":
        raise errors.Refused("nothing was changed")
