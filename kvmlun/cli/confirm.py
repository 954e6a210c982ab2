"""Asking the operator before something is changed that cannot be taken back."""

from __future__ import annotations

import signal
import sys

from .. import errors


def confirm(told: str, consequence: str, confirmed: bool) -> None:
    """Show what would be done, and have it confirmed.

    Raises errors.Refused if it is not, KeyboardInterrupt for Ctrl-C.
    """
    if confirmed:
        return
    print(told, end="", file=sys.stderr)
    if not sys.stdin.isatty():
        raise errors.Refused("nothing was changed; --yes confirms")
    # asyncio's own handler only has the loop end, which stands still here.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        print(f"{consequence} Type yes: ", end="", flush=True)
        answer = sys.stdin.readline().strip()
    finally:
        signal.signal(signal.SIGINT, before)
    if answer != "yes":
        raise errors.Refused("nothing was changed")
