"""What happened since the daemon began, in numbers: for metrics.py, which tells them.

Counting is cheap and always on, so that metrics that are asked for later tell of what was before.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from . import errors

# Upper bounds in seconds. The last are the default limits of a login and of a start.
_ASKED = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 45.0)
_RECONCILE = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# What may be refused: the hook's operations that wait for an answer, and ours on D-Bus.
OPERATIONS = ("prepare", "start", "started", "migrate", "restore", "connect")
INTERNAL = "internal"
_OF_THE_COMMAND = (errors.Unreachable, errors.Found, errors.Unsure, errors.Left)


class Durations:
    """How many took how long; `bounds` are the upper bounds of the buckets, in seconds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.seconds = 0.0
        self._counts = [0] * (len(bounds) + 1)

    def add(self, seconds: float) -> None:
        self._counts[bisect.bisect_left(self.bounds, seconds)] += 1
        self.seconds += seconds

    @property
    def buckets(self) -> list[int]:
        """How many took at most as long as each bound, and how many there were."""
        return list(itertools.accumulate(self._counts))


class Tally:
    """All counts. No label of theirs is a name from outside, so their number is fixed."""

    def __init__(self) -> None:
        self.asked = {operation: Durations(_ASKED) for operation in OPERATIONS}
        self.refusals: Counter[tuple[str, str]] = Counter()  # by operation and cause()
        self.logins = Durations(_ASKED)
        self.failed_logins: Counter[str] = Counter()  # by cause()
        self.reconciles = Durations(_RECONCILE)
        self.drops = 0

    @contextlib.contextmanager
    def asking(self, operation: str) -> Iterator[None]:
        """Count one of OPERATIONS, and whether it is refused; any other is not counted."""
        if operation not in OPERATIONS:
            yield
            return
        began = time.monotonic()
        try:
            yield
        except Exception as problem:
            self.refusals[operation, cause(problem)] += 1
            raise
        finally:
            self.asked[operation].add(time.monotonic() - began)

    @contextlib.contextmanager
    def login(self) -> Iterator[None]:
        """Count a login: how long it took, or why it failed."""
        began = time.monotonic()
        try:
            yield
        except Exception as problem:
            self.failed_logins[cause(problem)] += 1
            raise
        self.logins.add(time.monotonic() - began)

    @contextlib.contextmanager
    def reconcile(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.reconciles.add(time.monotonic() - began)


def cause(problem: BaseException) -> str:
    """Return the name of the nearest class in errors.py, as in no_answer, or INTERNAL."""
    kinds = (kind for kind in type(problem).__mro__ if kind.__module__ == errors.__name__)
    return next(map(_snake, kinds), INTERNAL)


def causes() -> tuple[str, ...]:
    """Return every value of cause()."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    own = [k for k in kinds if issubclass(k, errors.Error) and k not in _OF_THE_COMMAND]
    return (*map(_snake, own), INTERNAL)


def _snake(kind: type) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in kind.__name__).lstrip("_")
