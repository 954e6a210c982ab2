"""``kvmlun doctor``: looks for what this host lacks, and says what to do about it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from .. import errors
from ..finding import Finding
from . import checks, comparison, gathering, tools

Check = Callable[[], Awaitable[Finding | Sequence[Finding] | None]]
Waits = Callable[[str], None]

_ASK_AGAIN = "see that this can be asked, then run kvmlun doctor again"
_REPORT = "report this line, with what is special about this host"

# Of the checks that are waited for, so many are named.
_MOST = 5

# By the names that their findings have, in the order in which they are told.
CHECKS: dict[str, Check] = {
    "kvmlund": checks.kvmlund,
    "hook": checks.hook,
    "iscsid": checks.iscsid,
    "initiator": checks.initiator_name,
    "versions": checks.versions,
    "open-iscsi": checks.open_iscsi,
    "replacement": checks.replacement,
    "pools": checks.iscsi_pools,
    "udev": checks.udev_rules,
    "lvm": tools.lvm,
    "mdadm": tools.mdadm,
    "multipath": tools.multipath,
    "clock": checks.synchronized,
}


async def examine(waits: Waits) -> list[Finding]:
    """Return what every check finds; one that can't be made is told as unknown.

    They are made side by side, and `waits` is told the names of those that are not done yet.
    """
    left = list(CHECKS)

    async def done(name: str, check: Check) -> Sequence[Finding]:
        found = await _made(name, check)
        left.remove(name)
        waits(names(left))
        return found

    waits(names(left))
    found = await asyncio.gather(*(done(name, check) for name, check in CHECKS.items()))
    return [finding for each in found for finding in each]


def names(left: Sequence[str]) -> str:
    """Return what is waited for, short enough for a line of a terminal. Pure."""
    if len(left) <= _MOST:
        return ", ".join(left)
    told = left[: _MOST - 1]
    return f"{', '.join(told)} and {len(left) - len(told)} more"


async def _made(name: str, check: Check) -> Sequence[Finding]:
    try:
        found = await check()
    except (errors.Error, OSError) as problem:
        return [_unknown(name, problem)]
    except Exception as bug:
        # Told as one: it must not keep what the others find from being told.
        return [Finding(name, f"a mistake in kvmlun: {bug!r}", remedy=_REPORT, unknown=True)]
    if found is None:
        return []
    return [found] if isinstance(found, Finding) else found


async def compare(host: str, waits: Waits) -> list[Finding]:
    """Compare this host with another one, asked by ssh; `waits` is told who is being asked."""
    try:
        waits("kvmlund")
        here = await gathering.here()
        waits(f"ssh {host} kvmlun doctor --facts")
        answer = await gathering.there(host)
        if answer.facts:
            return list(comparison.compare(here, answer.facts, answer.asked, answer.had))
    except errors.Error as problem:
        remedy = f"see that kvmlun doctor --facts prints JSON, here and by ssh {host}"
        return [_unknown("host", problem, remedy)]
    remedy = f"install the same kvmlun on {host} as here"
    return [Finding("version", f"kvmlun {answer.lacks} ({host})", remedy=remedy)]


def _unknown(check: str, problem: Exception, remedy: str = _ASK_AGAIN) -> Finding:
    return Finding(check, str(problem), remedy=remedy, unknown=True)
