"""What is waited for: in a sentence, and a daemon that is away for a while."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from .. import errors

if TYPE_CHECKING:
    from ..client import Client

T = TypeVar("T")


def sentence(step: str, seconds: float) -> str:
    """Pure."""
    what = step if "waiting for" in step else f"waiting for {step}"
    return f"{what} ({max(0, seconds):.0f} s)"


async def answer(client: Client, ask: Callable[[], Awaitable[T]]) -> T | errors.Error:
    """Return what the daemon answers or, as while it is started again, why it does not.

    For who listens and asks again: who has stopped the daemon does not want it started by that.
    """
    if not client.is_served:
        return errors.Unreachable("kvmlund does not run")
    try:
        return await ask()
    except (errors.Unreachable, errors.Storage) as problem:
        return problem
