"""``kvmlun explain``: what would be done for a VM now, and what was done last."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .. import errors
from . import arguments, looks, progress, render
from .looks import PLAIN, Looks

if TYPE_CHECKING:
    from ..client import Client

_WIDTH = 10  # of the verdict with what is before it


def add(verbs: arguments.Verbs) -> None:
    parser = verbs.add_parser(
        "explain", help="say what would be done for a VM now and why, and what was done last"
    )
    parser.add_argument("vm", metavar="VM")
    arguments.json_option(parser)
    parser.set_defaults(run=_explain)


async def _explain(client: Client, given: argparse.Namespace) -> str:
    async with progress.said("kvmlund, which asks portals, disks and targets"):
        made = await client.explain(given.vm)
    return render.as_json(made) if given.json else tell(made, looks.of(sys.stdout))


def tell(made: dict[str, Any], how: Looks = PLAIN) -> str:
    """Return what Client.explain() gave, for people. Pure."""
    blocks = [render.wrap(_headline(made), how.width)]
    for disk, group in itertools.groupby(made["lines"], lambda line: str(line["disk"])):
        lines = [_line(line, how) for line in group]
        blocks.append("".join([f"{errors.printable(disk) or 'the VM'}\n", *lines]))
    blocks += ["".join(_operation(each, how)) for each in made["operations"]]
    return "\n".join(blocks)


def _headline(made: dict[str, Any]) -> str:
    name = f"{made['name']} ({made['uuid']})"
    if made["running"]:
        return f"{name} is on this host. It has{':' if made['lines'] else ' no disk.'}"
    if any(line["verdict"] == "refused" for line in made["lines"]):
        return f"{name} is off. A start here would be refused now:"
    if not made["lines"]:
        return f"{name} is off. It has no disk, so a start here does not wait for kvmlun."
    return f"{name} is off. A start here would now do this:"


def _line(line: dict[str, str], how: Looks) -> str:
    verdict = how.paint(f"{line['verdict']:8}", looks.of_state(line["verdict"]))
    return f"  {verdict}{render.wrap(line['text'], how.width, ' ' * _WIDTH)[_WIDTH:]}"


def _operation(operation: dict[str, Any], how: Looks) -> Iterator[str]:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(operation["at"]))
    result = f"not done: {operation['result']}" if operation["result"] else "done"
    head = f"last {operation['operation']}, {when}, {operation['seconds']:.2f} s: {result}"
    yield render.wrap(head, how.width)
    for step in operation["steps"]:
        took = "goes on" if step["seconds"] is None else f"{step['seconds']:.2f} s"
        line = f"  at {step['after']:6.2f} s  {took:>8}  {errors.printable(step['text'])}"
        yield f"{render.shorten(line, how.width)}\n"
