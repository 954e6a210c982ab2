"""The steps of an operation that takes time: what it waits for now, and how long each has taken.

A step belongs to the operation in whose task it runs. That is a context variable, which tasks
inherit, so no function in between has to pass it on; outside of any operation a step is nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# What is waited for is told from then on: a start that nothing holds up tells nobody.
SHOWN_SECONDS = 1.0
# Far above a start's own; what an operation has begun may go on after it.
_MOST = 500

_current: contextvars.ContextVar[Operation | None] = contextvars.ContextVar("steps", default=None)


@dataclass
class Step:
    """Began so many seconds `after` its operation; `seconds` is None while it goes on."""

    text: str
    after: float
    seconds: float | None = None


class Operation:
    """`name` is what is done, for `subject`. `began` is time.monotonic(), which is the same for
    every process until the next boot, `at` the Unix time.

    `result` is "" or why it failed. `changed` is called when what it waits for is to be shown,
    or no longer, and after each step that ends later than the operation does.
    """

    def __init__(
        self, name: str, subject: str, began: float, at: float, changed: Callable[[], None]
    ) -> None:
        self.name = name
        self.subject = subject
        self.began = began
        self.at = at
        self.seconds: float | None = None
        self.result = ""
        self.targets: frozenset[str] = frozenset()
        self.steps: list[Step] = []
        self._changed = changed

    @property
    def waits_for(self) -> Step | None:
        """The step that has been going on for longest, if that is long enough to be shown."""
        going = (step for step in self.steps if step.seconds is None)
        first = next(going, None)
        return first if first and self.passed - first.after >= SHOWN_SECONDS else None

    @property
    def passed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Have steps of this task, and of those that it begins, be steps of this operation."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[None]:
        made = Step(text, self.passed)
        if len(self.steps) < _MOST:
            self.steps.append(made)
        shown = asyncio.get_running_loop().call_later(SHOWN_SECONDS, self._changed)
        try:
            yield
        finally:
            made.seconds = self.passed - made.after
            shown.cancel()
            if made.seconds >= SHOWN_SECONDS or self.seconds is not None:
                self._changed()


@contextlib.contextmanager
def step(text: str) -> Iterator[None]:
    """Surrounds what may take time; `text` is a noun: what is waited for."""
    operation = _current.get()
    if operation is None:
        yield
        return
    with operation.step(text):
        yield
