"""Calls of a library that may hang, crash or take all memory: in a child process of their own."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

from . import errors

T = TypeVar("T")
Waits = Callable[[str, float], None]

_MEMORY = 256 << 20
_TELL_SECONDS = 1.0


def nobody(_what: str, _seconds: float) -> None:
    """Where nobody looks."""


def call(
    what: str, seconds: float, function: Callable[..., T], *args: object, waits: Waits = nobody
) -> T:
    """Return what the function returns, or raise the errors.Error that it raises.

    After `seconds` the child is killed. Raises errors.Timeout then, errors.Storage where it ended
    without an answer; `what` is what both begin with. Until then `waits` is called each second,
    with that and the time that has passed.
    """
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    child = fork.Process(target=_answer, args=(sender, function, args))
    child.start()
    began = time.monotonic()
    sender.close()
    try:
        passed = 0.0
        while not receiver.poll(min(_TELL_SECONDS, seconds - passed)):
            passed = time.monotonic() - began
            if passed >= seconds:
                raise errors.Timeout(f"{what} took longer than {seconds:.0f} s")
            waits(what, passed)
        result, problem = receiver.recv()
    except EOFError:
        raise errors.Storage(f"{what}: its answer can't be read") from None
    finally:
        child.kill()
        child.join()
    if problem:
        raise problem
    return result  # type: ignore[no-any-return]


def _answer(sender: Connection, function: Callable[..., object], args: tuple[object, ...]) -> None:
    # Ctrl-C is for the parent, which kills this.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, hard))
    try:
        sender.send((function(*args), None))
    except errors.Error as problem:
        sender.send((None, problem))
    except MemoryError:
        os._exit(1)
