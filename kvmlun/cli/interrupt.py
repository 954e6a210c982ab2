"""Ctrl-C for what lets no other task run."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Have Ctrl-C raise KeyboardInterrupt where it comes.

    asyncio's own handler only has the loop end, which stands still meanwhile.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
