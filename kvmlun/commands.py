"""The only place that starts other programs."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import errors
from .wait import within

log = logging.getLogger("kvmlun.commands")

_ENV = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
# A child that outlives its caller must stay referenced until it is reaped.
_abandoned: set[asyncio.Task[tuple[bytes, bytes]]] = set()


@dataclass(frozen=True)
class Result:
    """What a finished program left; `err` is its stderr in one line."""

    code: int
    out: str
    err: str


async def run(
    args: Sequence[str], timeout: float | None = None, more: Mapping[str, str] | None = None
) -> Result:
    """Run `args`, for at most `timeout` seconds if given; return its result, whatever its code.

    Its environment is the same for each, with `more` if given.
    A program that runs out of time is left alone, not killed: iscsiadm does
    not remove its lock file when it dies (open-iscsi usr/idbm.c, idbm_lock).
    Raises errors.Timeout, or errors.Storage if it cannot be started.
    """
    log.debug("run %s", shlex.join(args))
    try:
        process = await asyncio.create_subprocess_exec(
            *args,
            env={**_ENV, **(more or {})},
            cwd="/",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise errors.Storage(f"cannot run {args[0]}: {os.strerror(error.errno or 0)}") from error
    finished = asyncio.ensure_future(process.communicate())
    try:
        out, err = await within(asyncio.shield(finished), timeout)
    except TimeoutError:
        raise errors.Timeout(f"{args[0]} did not finish within {timeout:.0f} s") from None
    finally:
        if not finished.done():
            _abandoned.add(finished)
            finished.add_done_callback(_abandoned.discard)
    code = process.returncode if process.returncode is not None else -1
    result = Result(
        code, out.decode(errors="replace"), errors.one_line(err.decode(errors="replace"))
    )
    log.debug("%s: exit code %d %s", args[0], result.code, result.err)
    return result
