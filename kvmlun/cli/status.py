"""``kvmlun status``: each LUN with its device, sessions, VMs and state."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from . import arguments, render

if TYPE_CHECKING:
    from ..client import Client


def add(verbs: arguments.Verbs) -> None:
    parser = verbs.add_parser("status", help="show each LUN: device, sessions, VMs, state")
    arguments.json_option(parser)
    parser.set_defaults(run=_status)


async def _status(client: Client, given: argparse.Namespace) -> str:
    status = await client.status()
    if given.json:
        return render.as_json(status)
    luns = [
        {
            "VOLUME": lun["volume"] or "-",
            "WWID": lun["wwid"],
            "STATE": lun["state"],
            "DEVICE": lun["device"] or "-",
            "LINK": lun["link"].removeprefix("/dev/disk/by-id/") or "-",
            "SESSIONS": _sessions(lun, status["sessions"]),
            "FENCING": _fencing(lun["wwid"], status["reservations"]),
            "VMS": ", ".join(lun["domains"]) or "-",
        }
        for lun in status["luns"]
    ]
    text = render.table(luns) if luns else "no LUNs\n"
    if status["drained_since"]:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(status["drained_since"]))
        text += f"\ndrained since {since}: no LUN comes here until kvmlun host resume\n"
    if status["config_problem"]:
        text += f"\n{status['config_problem']}; /etc/kvmlun is not in force as it is now: "
        text += "see kvmlun check, then systemctl reload kvmlund\n"
    for suspended in status["suspended"]:
        text += f"\nsuspended until the right LUN is back: {suspended}\n"
    for problem in status["fencing_problems"]:
        text += f"\n{problem}\n"
    if status["libvirt_problem"]:
        text += f"\n{status['libvirt_problem']}; nothing is logged out until it answers\n"
    return text


def _sessions(lun: dict[str, Any], sessions: list[dict[str, Any]]) -> str:
    ids = {int(path.rpartition("/")[2]) for path in lun["sessions"]}
    shown = [
        f"{s['id']} {s['portal']} {s['iface'] and s['iface'] + ' '}{s['state']}"
        f"{'' if s['owned'] else ' (borrowed)'}"
        for s in sessions
        if s["id"] in ids
    ]
    return ", ".join(shown) or "-"


def _fencing(wwid: str, reservations: list[dict[str, Any]]) -> str:
    """Say who holds a LUN, who else may write, and what its target can do."""
    found = next((each for each in reservations if each["wwid"] == wwid), None)
    if found is None:
        return "-"
    if not found["registrants"]:
        return f"{'nobody holds it' if found['fencing'] else 'off'} (target: {found['can']})"
    who = "this host" if found["here"] else found["holder"] or "nobody"
    others = {each["initiator"] for each in found["registrants"]} - {found["holder"]}
    beside = f", beside {', '.join(sorted(others))}" if others else ""
    return f"{who}{beside} (target: {found['can']})"
