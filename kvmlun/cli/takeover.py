"""``kvmlun takeover``: shut out the host that holds a VM's fenced LUNs."""

from __future__ import annotations

import argparse
import contextlib
from typing import TYPE_CHECKING, Any

from .. import errors, reservation
from ..reservation import Registration
from . import arguments, progress, render
from .confirm import confirm

if TYPE_CHECKING:
    from ..client import Client


def add(verbs: arguments.Verbs) -> None:
    parser = verbs.add_parser(
        "takeover", help="shut out the host that holds a VM's fenced LUNs, to start it here"
    )
    parser.add_argument("vm", metavar="VM")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--yes", action="store_true", help="confirmed: do not ask")
    either.add_argument(
        "--give-up", action="store_true", help="let go of what was taken over and not started"
    )
    parser.set_defaults(run=_takeover)


async def _takeover(client: Client, given: argparse.Namespace) -> str:
    if given.give_up:
        await client.give_up(given.vm)
        return ""
    async with progress.shown(client, "takeover", given.vm):
        holdings = await client.compare_holders(given.vm)
    told = render.lines(map(_holding, holdings))
    rivals = {each["wwid"]: [r["key"] for r in each["registrants"]] for each in holdings}
    if not any(rivals.values()):
        await _stop_comparing(client, given.vm)
        return f"{told}nobody has to be shut out: virsh start {given.vm}\n"
    try:
        confirm(
            told,
            "What that host still writes will fail, also if it is alive. "
            "Whatever its VM had not written yet is lost.",
            given.yes,
        )
    except (errors.Refused, KeyboardInterrupt):
        await _stop_comparing(client, given.vm)
        raise
    async with progress.shown(client, "takeover", given.vm):
        lines = await client.take_over(given.vm, rivals)
    lines.append(f"this host alone may write now: virsh start {given.vm}")
    return render.lines(lines)


async def _stop_comparing(client: Client, vm: str) -> None:
    # Where that fails the LUNs go by themselves after a while, and nothing was changed.
    with contextlib.suppress(errors.Error):
        await client.stop_comparing(vm)


def _holding(made: dict[str, Any]) -> str:
    told = [
        f"{Registration(int(each['key'], 16), each['initiator'], '').text} "
        f"{'holds it' if each['key'] == made['holder_key'] else 'is registered, so may write,'} "
        f"since {reservation.local_time(int(each['key'], 16))}"
        for each in made["registrants"]
    ]
    others = "; ".join(dict.fromkeys(told)) or "no other host has it"
    return f"{made['name']} ({made['wwid']}): {others}"
