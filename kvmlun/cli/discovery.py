"""``kvmlun volume discover`` and ``import-pools``: volumes found, not typed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from .. import config, errors
from ..config import Config
from ..lun import Portal
from . import arguments, progress, render

if TYPE_CHECKING:
    from ..apart import Waits
    from ..client import Client


def add_discover(nouns: arguments.Verbs) -> None:
    parser = nouns.add_parser("discover", help="print what a SAN offers, as YAML to be pasted")
    parser.add_argument("portal", metavar="ADDRESS[:PORT]")
    arguments.secret_option(parser)
    parser.set_defaults(here=_discover)


def add_import(nouns: arguments.Verbs) -> None:
    parser = nouns.add_parser("import-pools", help="add the LUNs of libvirt's iSCSI pools")
    arguments.secret_option(parser)
    parser.set_defaults(run=_import_pools)


def _discover(given: argparse.Namespace) -> str:
    from .. import discover, libiscsi

    portal = Portal.parse(given.portal)
    secret = given.secret or ""
    catalog = _catalog()
    with progress.written() as waits:
        initiator = libiscsi.Initiator.of_host(secret, waits)
        return discover.discover(initiator, portal, catalog, secret)


async def _import_pools(client: Client, given: argparse.Namespace) -> str:
    """Add a volume for each LUN of each pool; one that can't be added keeps none of the others."""
    _catalog()
    with progress.written() as waits:
        told = [line async for line in _imported(client, given.secret or "", waits)]
    return render.lines(told) or "no iSCSI pools\n"


async def _imported(client: Client, secret: str, waits: Waits) -> AsyncIterator[str]:
    from .. import discover, libiscsi, pools

    initiator = libiscsi.Initiator.of_host(secret, waits)
    more = {"secret": secret} if secret else {}
    for pool in pools.pools():
        for made in discover.of_pool(initiator, pool, config.read()[0]):
            problem = made.problem
            if not problem:
                try:
                    await client.add_volume(made.name, {**made.volume, **more})
                except errors.Error as error:
                    problem = f"{made.name}: {error}"
            yield problem or f"{made.name}: {made.volume['wwid']}, added"


def _catalog() -> Config:
    found, problems = config.read()
    for problem in problems:
        print(f"kvmlun: {problem}; volumes there are found as new ones", file=sys.stderr)
    return found
