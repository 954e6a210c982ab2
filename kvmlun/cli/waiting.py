"""What an operation waits for, in a sentence. Pure."""

from __future__ import annotations

from typing import Any


def sentence(waiting: dict[str, Any], now: float) -> str:
    """`now` is the Unix time."""
    step = waiting["step"]
    what = step if "waiting for" in step else f"waiting for {step}"
    return f"{what} ({max(0, now - waiting['since']):.0f} s)"
