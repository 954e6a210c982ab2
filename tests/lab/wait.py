import time
from collections.abc import Callable
from typing import TypeVar

from tests.lab import errors

T = TypeVar("T")

INTERVAL = 0.05


class TimedOut(errors.LabError):
    pass


def wait_for(what: str, condition: Callable[[], T], timeout: float) -> T:
    """Return the first true value of condition(); raise TimedOut after timeout seconds.

    An exception of the condition ends the wait: a condition that may fail catches that itself.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise TimedOut(f"waited {timeout:g} s in vain for {what} (last seen: {value!r})")
        time.sleep(INTERVAL)
