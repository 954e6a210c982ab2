"""``kvmlun status``: each LUN with its device, sessions, VMs and state."""

from __future__ import annotations

import argparse
import socket
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import arguments, live, looks, progress, render, tree, waiting
from .looks import Looks

if TYPE_CHECKING:
    from ..client import Client


def add(verbs: arguments.Verbs) -> None:
    parser = verbs.add_parser("status", help="show each LUN: device, sessions, VMs, state")
    parser.add_argument(
        "-t", "--tree", action="store_true",
        help="as a tree: target, session, LUN, link, VM (default: a table of LUNs)",
    )  # fmt: skip
    either = parser.add_mutually_exclusive_group()
    arguments.json_option(either)
    either.add_argument(
        "-w", "--watch", action="store_true", help="show it anew at each change, until Ctrl-C"
    )
    parser.set_defaults(run=_status)


async def _status(client: Client, given: argparse.Namespace) -> str:
    picture = as_tree if given.tree else table
    if given.watch:
        await live.show(client, picture, sys.stdout)
        return ""
    async with progress.said("kvmlund, which asks targets who holds their LUNs"):
        status = await client.status()
    if problem := status["reservations_problem"]:
        print(f"kvmlun: who holds the LUNs is not known: {problem}", file=sys.stderr)
    return render.as_json(status) if given.json else picture(status, looks.of(sys.stdout))


def as_tree(status: dict[str, Any], how: Looks) -> str:
    return tree.draw(tree.grow(status, socket.gethostname()), how) + _notes(status, how)


def table(status: dict[str, Any], how: Looks) -> str:
    if not status["luns"]:
        return "no LUNs\n" + _notes(status, how)
    rows = [_row(lun, status) for lun in status["luns"]]
    if how.width and render.width(rows) > how.width:
        rows = [_row(lun, status, short=True) for lun in status["luns"]]
    return render.table(rows, how) + _notes(status, how)


def _row(lun: dict[str, Any], status: dict[str, Any], *, short: bool = False) -> dict[str, str]:
    """A `short` row is without what --tree shows as well, and what the target can do.

    What is cut off of its sessions is the good ones.
    """
    ids = tree.session_ids(lun)
    sessions = [each for each in status["sessions"] if each["id"] in ids]
    if short:
        sessions.sort(key=lambda session: session["state"] == "LOGGED_IN")
    who, can = _fencing(lun, status["reservations"])
    row = {
        "VOLUME": lun["volume"] or "-",
        "WWID": lun["wwid"],
        "STATE": lun["state"],
        "DEVICE": lun["device"] or "-",
        "LINK": lun["link"].removeprefix("/dev/disk/by-id/") or "-",
        "SESSIONS": ", ".join(tree.session_text(each, short=short) for each in sessions) or "-",
        "FENCING": f"{who} (target: {can})" if can and not short else who,
        "VMS": ", ".join(lun["domains"]) or "-",
    }
    if short:
        del row["LINK"]
    return row


def _notes(status: dict[str, Any], how: Looks) -> str:
    """Say what is not as it should be, and what is waited for, in a paragraph each."""
    return "".join(f"\n{render.wrap(note, how.width)}" for note in _noted(status))


def _noted(status: dict[str, Any]) -> Iterator[str]:
    if status["drained_since"]:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(status["drained_since"]))
        yield f"drained since {since}: no LUN comes here until kvmlun host resume"
    if status["config_problem"]:
        yield (
            f"{status['config_problem']}; /etc/kvmlun is not in force as it is now: "
            "see kvmlun check, then systemctl reload kvmlund"
        )
    for suspended in status["suspended"]:
        yield f"suspended until the right LUN is back: {suspended}"
    yield from status["fencing_problems"]
    if status["libvirt_problem"]:
        yield f"{status['libvirt_problem']}; nothing is logged out until it answers"
    for each in status["waiting"]:
        step = waiting.sentence(each["step"], time.time() - each["since"])
        yield f"{each['operation']} {each['subject']}: {step}"


def _fencing(lun: dict[str, Any], reservations: list[dict[str, Any]]) -> tuple[str, str]:
    """Say who holds a LUN and who else may write, and what its target can do.

    Where the target was not asked, what has become of this host's key.
    """
    found = next((each for each in reservations if each["wwid"] == lun["wwid"]), None)
    if found is None:
        return lun["key"] or "-", ""
    if not found["registrants"]:
        return "nobody holds it" if found["fencing"] else "off", found["can"]
    who = "this host" if found["here"] else found["holder"] or "nobody"
    others = {each["initiator"] for each in found["registrants"]} - {found["holder"]}
    beside = f", beside {', '.join(sorted(others))}" if others else ""
    return f"{who}{beside}", found["can"]
