"""``kvmlun volume``: the catalog in /etc/kvmlun, shown and changed."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from . import arguments, discovery, looks, render, repin

if TYPE_CHECKING:
    from ..client import Client


# What is in force where a volume has no such key.
_UNSAID = {
    "ifaces": "- (routing decides)",
    "fencing": "- (as settings.fencing, else as the VM's metadata says)",
    "secret": "- (as /etc/iscsi/iscsid.conf says)",
}


def add(verbs: arguments.Verbs) -> None:
    volume = verbs.add_parser("volume", help="show and change the catalog in /etc/kvmlun")
    nouns = volume.add_subparsers(required=True, metavar="COMMAND")
    listing = nouns.add_parser("list", help="list all volumes")
    arguments.json_option(listing)
    listing.set_defaults(run=_list)
    show = nouns.add_parser("show", help="show one volume")
    show.add_argument("volume", metavar="VOLUME")
    arguments.json_option(show)
    show.set_defaults(run=_show)
    discovery.add_discover(nouns)
    _add_add(nouns)
    discovery.add_import(nouns)
    remove = nouns.add_parser("remove", help="remove the file of a volume that no VM has")
    remove.add_argument("volume", metavar="VOLUME")
    remove.set_defaults(run=_remove)
    repin.add(nouns)


def _add_add(nouns: arguments.Verbs) -> None:
    parser = nouns.add_parser("add", help="write a file for a new volume")
    parser.add_argument("volume", metavar="VOLUME")
    parser.add_argument("--wwid", required=True, help="its identity, like naa.6001405…")
    parser.add_argument("--target", required=True, help="the target's name, like iqn.…")
    parser.add_argument(
        "--lun", type=arguments.number, default=0, help="logical unit number (default: 0)"
    )
    parser.add_argument(
        "--portal", action="append", required=True, dest="portals", metavar="ADDRESS[:PORT]",
        help="where the target is; once for each portal",
    )  # fmt: skip
    parser.add_argument(
        "--iface", action="append", dest="ifaces", metavar="NAME",
        help="an interface of open-iscsi to log in by; once for each (default: routing decides)",
    )  # fmt: skip
    parser.add_argument(
        "--min-paths", type=arguments.number, metavar="N",
        help="paths that a VM's start waits for where multipathd runs (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--fencing", action=argparse.BooleanOptionalAction,
        help="let the storage refuse other hosts' writes (default: as settings.fencing)",
    )  # fmt: skip
    arguments.secret_option(parser)
    parser.set_defaults(run=_add)


async def _list(client: Client, given: argparse.Namespace) -> str:
    volumes = await client.volumes()
    if given.json:
        return render.as_json(volumes)
    rows = [
        {
            "VOLUME": volume["name"],
            "WWID": volume["wwid"],
            "TARGET": volume["target"],
            "LUN": str(volume["lun"]),
            "PORTALS": ", ".join(volume["portals"]),
        }
        for volume in volumes
    ]
    return render.table(rows, looks.of(sys.stdout)) if rows else "no volumes in /etc/kvmlun\n"


async def _show(client: Client, given: argparse.Namespace) -> str:
    volume = await client.volume(given.volume)
    if given.json:
        return render.as_json(volume)
    shown = {k: ", ".join(v) if isinstance(v, list) else str(v) for k, v in volume.items()}
    return "".join(f"{k + ':':11}{text or _UNSAID.get(k, '-')}\n" for k, text in shown.items())


async def _add(client: Client, given: argparse.Namespace) -> str:
    keys = ("wwid", "target", "lun", "portals", "ifaces", "min_paths", "fencing", "secret")
    volume = {key: value for key in keys if (value := getattr(given, key)) is not None}
    await client.add_volume(given.volume, volume)
    return ""


async def _remove(client: Client, given: argparse.Namespace) -> str:
    await client.remove_volume(given.volume)
    return ""
