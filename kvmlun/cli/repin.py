"""``kvmlun volume repin``: take the LUN that is there now for the pinned one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .. import sizes
from . import arguments, progress, render
from .confirm import confirm

if TYPE_CHECKING:
    from ..client import Client


def add(nouns: arguments.Verbs) -> None:
    parser = nouns.add_parser("repin", help="take the LUN that is there now for the pinned one")
    parser.add_argument("what", metavar="VOLUME|BY-PATH-LINK")
    parser.add_argument("--yes", action="store_true", help="confirmed: do not ask")
    parser.set_defaults(run=_repin)


async def _repin(client: Client, given: argparse.Namespace) -> str:
    async with progress.shown(client, "repin", given.what):
        made = await client.compare_pin(given.what)
    name = f"volume {made['volume']}, {made['address']}" if made["volume"] else made["address"]
    pinned, found = ", ".join(made["pinned"]) or "nothing", made["found"]
    if made["pinned"] == [found]:
        return render.lines([f"{name} is {found}, as pinned"])
    there = f"  there now: {found}, {sizes.text(made['size'])}"
    told = render.lines([name, f"  pinned:    {pinned}", there])
    confirm(told, f"VMs will use it in place of {pinned}.", given.yes)
    async with progress.shown(client, "repin", given.what):
        made = await client.repin(given.what, found)
    lines = [f"{name} is {found} from now on"]
    lines += [f"{domain}: pinned anew" for domain in made["domains"]]
    lines += [
        f"{domain}: its definition names {link}; virsh edit {domain} if that disk is meant"
        for domain, link in made["links"]
    ]
    return render.lines(lines)
