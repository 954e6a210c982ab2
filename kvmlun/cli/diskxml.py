"""``kvmlun disk-xml``: the <disk> element that gives a volume to a domain."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from .. import errors
from ..lun import Lun, LunAddress, Portal, Wwid
from . import arguments, progress

if TYPE_CHECKING:
    from ..client import Client


def add(verbs: arguments.Verbs) -> None:
    parser = verbs.add_parser("disk-xml", help="print the <disk> element for a domain definition")
    parser.add_argument("volume", metavar="VOLUME")
    parser.add_argument("--target", default="vda", help="name in the guest (default: vda)")
    parser.set_defaults(run=_disk_xml)


async def _disk_xml(client: Client, given: argparse.Namespace) -> str:
    """Print it with what the LUN says of itself, which only root can ask it."""
    from .. import domxml, libiscsi

    volume = await client.volume(given.volume)
    lun = Lun(
        Wwid.parse(volume["wwid"]),
        LunAddress(volume["target"], volume["lun"]),
        tuple(Portal.parse(text) for text in volume["portals"]),
    )
    assert lun.wwid
    try:
        with progress.written() as waits:
            sectors = libiscsi.Initiator.of_host(volume["secret"], waits).sectors(lun)
    except errors.Error as problem:
        print(f"kvmlun: block size not known: {problem}", file=sys.stderr)
        sectors = None
    return domxml.disk_xml(lun.wwid.link, given.target, sectors, explain=True)
