"""Asking the operator before something is changed that cannot be taken back."""

from __future__ import annotations

import sys

from .. import errors


def confirm(told: str, consequence: str, confirmed: bool) -> None:
    """Show what would be done, and have it confirmed; raises errors.Refused if it is not."""
    if confirmed:
        return
    print(told, end="", file=sys.stderr)
    if not sys.stdin.isatty():
        raise errors.Refused("nothing was changed; --yes confirms")
    print(f"{consequence} Type yes: ", end="", flush=True)
    if sys.stdin.readline().strip() != "yes":
        raise errors.Refused("nothing was changed")
