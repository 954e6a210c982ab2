"""``kvmlun connect`` and ``disconnect``: a volume on this host without a VM."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from . import arguments, progress

if TYPE_CHECKING:
    from ..client import Client


def add(verbs: arguments.Verbs) -> None:
    connect = verbs.add_parser("connect", help="bring a volume to this host; prints its link")
    connect.add_argument("volume", metavar="VOLUME")
    connect.add_argument(
        "--ttl", type=arguments.number, default=0, metavar="SECONDS",
        help="let it go by itself after this time (default: at disconnect or reboot)",
    )  # fmt: skip
    _owner_option(connect)
    connect.set_defaults(run=_connect)
    disconnect = verbs.add_parser("disconnect", help="let go of what connect brought")
    disconnect.add_argument("volume", metavar="VOLUME")
    _owner_option(disconnect)
    disconnect.set_defaults(run=_disconnect)


def _owner_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--owner", default="operator", help="on whose behalf; each owner's connection counts"
    )


async def _connect(client: Client, given: argparse.Namespace) -> str:
    async with progress.shown(client, "connect", given.volume):
        link = await client.connect_volume(given.volume, given.owner, given.ttl)
    return f"{link}\n"


async def _disconnect(client: Client, given: argparse.Namespace) -> str:
    await client.disconnect_volume(given.volume, given.owner)
    return ""
