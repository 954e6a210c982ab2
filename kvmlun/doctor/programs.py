"""Asking this host's other programs."""

from __future__ import annotations

import shutil

from .. import commands, errors

SECONDS = 20
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def installed(program: str) -> bool:
    return shutil.which(program, path=PATH) is not None


async def output(*args: str) -> str:
    """Return what a program prints; raises errors.Storage where it gives no answer."""
    result = await commands.run(args, SECONDS)
    if result.code != 0:
        raise errors.Storage(f"{' '.join(args)}: {result.err or f'exit code {result.code}'}")
    return result.out
