"""Calls of a library that may hang, crash or take all memory: in a child process of their own."""

from __future__ import annotations

import multiprocessing
import os
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

from . import errors

T = TypeVar("T")

_MEMORY = 256 << 20


def call(what: str, seconds: float, function: Callable[..., T], *args: object) -> T:
    """Return what the function returns, or raise the errors.Error that it raises.

    After `seconds` the child is killed. Raises errors.Timeout then, errors.Storage where it ended
    without an answer; `what` is what both begin with.
    """
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    child = fork.Process(target=_answer, args=(sender, function, args))
    child.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            raise errors.Timeout(f"{what} took longer than {seconds:.0f} s")
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
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, hard))
    try:
        sender.send((function(*args), None))
    except errors.Error as problem:
        sender.send((None, problem))
    except MemoryError:
        os._exit(1)
