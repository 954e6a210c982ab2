"""``kvmlun events``: what happened to LUNs, sessions and VMs."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import TYPE_CHECKING

from .. import errors
from . import arguments, looks, render
from .looks import RED, YELLOW, Looks

if TYPE_CHECKING:
    from ..eventlog import Told

_ERR, _WARNING = 3, 4  # syslog's


def add(verbs: arguments.Verbs) -> None:
    parser = verbs.add_parser("events", help="show what happened to LUNs, sessions and VMs")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on with what happens, until Ctrl-C"
    )
    parser.add_argument(
        "-n", "--lines", type=arguments.count, default=50, metavar="N",
        help="begin with the last N (default: 50)",
    )  # fmt: skip
    parser.add_argument("--vm", default="", metavar="VM", help="what was done for this VM only")
    parser.add_argument("--wwid", default="", help="what is about this LUN only")
    parser.add_argument("--json", action="store_true", help="print JSON, an object a line")
    parser.set_defaults(here=_events)


def _events(given: argparse.Namespace) -> str:
    from ..eventlog import EventLog

    log = EventLog(given.vm, given.wwid)
    try:
        for told in log.last(given.lines):
            _print(told, given.json)
        for told in log.follow() if given.follow else ():
            _print(told, given.json)
    except KeyboardInterrupt:
        pass  # that is how it ends
    return ""


def _print(told: Told, as_json: bool) -> None:
    print(json_line(told) if as_json else line(told, looks.of(sys.stdout)), flush=True)


def line(told: Told, how: Looks) -> str:
    """Return an event for people: when, for which VM, and what, cut nowhere. Pure."""
    domain = errors.printable(told.domain) or "-"
    text = f"{told.at:%Y-%m-%d %H:%M:%S}  {domain:10}  {told.text}"
    colour = RED if told.priority <= _ERR else YELLOW if told.priority == _WARNING else ""
    return how.paint(render.wrap(text, how.width, hanging="    ").removesuffix("\n"), colour)


def json_line(told: Told) -> str:
    value = {**dataclasses.asdict(told), "at": told.at.astimezone().isoformat()}
    return json.dumps(value, sort_keys=True)
