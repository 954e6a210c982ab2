"""``kvmlun volume discover`` and ``import-pools``: volumes found, not typed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .. import config, errors
from ..lun import Portal
from . import arguments

if TYPE_CHECKING:
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
    return discover.discover(libiscsi.Initiator.of_host(secret), portal, config.read()[0], secret)


async def _import_pools(client: Client, given: argparse.Namespace) -> str:
    """Add a volume for each LUN of each pool; one that can't be added keeps none of the others."""
    from .. import discover, libiscsi, pools

    told = []
    initiator = libiscsi.Initiator.of_host(given.secret or "")
    secret = {"secret": given.secret} if given.secret else {}
    for pool in pools.pools():
        for made in discover.of_pool(initiator, pool, config.read()[0]):
            problem = made.problem
            if not problem:
                try:
                    await client.add_volume(made.name, {**made.volume, **secret})
                except errors.Error as error:
                    problem = f"{made.name}: {error}"
            told.append(problem or f"{made.name}: {made.volume['wwid']}, added")
    return "".join(f"{errors.one_line(line)}\n" for line in told) or "no iSCSI pools\n"
