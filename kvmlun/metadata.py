"""Which metadata each domain should carry, so that any host can receive it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from . import domxml, inventory, ours
from .config import Config
from .domxml import Domain
from .keys import ARRIVING, Record
from .listing import Guest, Listing
from .lun import Lun, Wwid
from .sysfs import Session


@dataclass(frozen=True)
class Write:
    """A definition whose metadata has to change; `xml` None removes it."""

    uuid: str
    name: str
    live: bool
    xml: str | None

    @property
    def where(self) -> str:
        return "live" if self.live else "persistent"


def wanted(
    listing: Listing, sessions: tuple[Session, ...], config: Config, keys: Iterable[Record] = ()
) -> list[Write]:
    """Return the writes that make every definition tell what its disks are.

    A running one tells this host's key as well, so that the destination of a migration knows
    whether it comes from the host that holds the LUN.

    A definition that came without metadata (a plain ``virsh define``) gets it
    from the catalog at once, so that a migration right after the start has it.
    """
    return list(_writes(listing, sessions, config, {(r.uuid, r.wwid): r for r in keys}))


def _writes(
    listing: Listing,
    sessions: tuple[Session, ...],
    config: Config,
    keys: Mapping[tuple[str, str], Record],
) -> Iterator[Write]:
    for guest in listing.guests:
        if not guest.settled:
            continue
        known = _known(guest)
        # Only what a running QEMU has open was proven to be the right disk.
        proven = sessions if guest.active else ()
        below: tuple[Lun, ...] = ()
        for live, domain in ((True, guest.live), (False, guest.persistent)):
            if domain is None:
                continue
            luns = tuple(_of_domain(domain, known, proven, config))
            if domain.overlays:
                # The LUN below a snapshot stands in no source of the persistent definition.
                told = below if guest.live else domain.luns
                shown = {lun.wwid for lun in luns}
                luns += tuple(lun for lun in told if lun.overlay and lun.wwid not in shown)
            below = luns
            if live:
                luns = tuple(_with_key(lun, domain, keys) for lun in luns)
            if luns != domain.luns:
                xml = domxml.metadata(guest.uuid, luns) if luns else None
                yield Write(guest.uuid, guest.name, live, xml)


def _known(guest: Guest) -> tuple[Lun, ...]:
    """What either definition tells already: a define of a running domain drops it in one only."""
    return tuple(lun for domain in (guest.live, guest.persistent) if domain for lun in domain.luns)


def _with_key(lun: Lun, domain: Domain, keys: Mapping[tuple[str, str], Record]) -> Lun:
    """Keep the source's key of a domain that has come and is not the holder yet."""
    record = keys.get((domain.uuid, str(lun.wwid)))
    if record and record.phase == ARRIVING:
        told = next((each.key for each in domain.luns if each.wwid == lun.wwid), None)
        return replace(lun, key=told)
    return replace(lun, key=record.key if record else None)


def _of_domain(
    domain: Domain, known: Iterable[Lun], sessions: tuple[Session, ...], config: Config
) -> Iterator[Lun]:
    seen: set[Wwid | None] = set()
    below = {link for disk in domain.disks for link in disk.below}
    alone = {link for disk in domain.disks if disk.alone for link in disk.links}
    for link in domain.links:
        told = _told(link, known, config)
        lun = _present(link, sessions, config) or told
        if lun and told and lun.wwid != told.wwid:
            lun = told  # a pin is never replaced by what happens to be there
        elif lun and told and told.wwid and not config.by_wwid(told.wwid):
            # Without a catalog entry what the sender knew counts; one session shows one portal.
            lun = replace(lun, portals=told.portals + lun.portals)
        if lun and lun.wwid and lun.wwid not in seen:
            seen.add(lun.wwid)
            fenced = link in alone and config.fences(lun.wwid, told.fencing if told else None)
            yield replace(lun.everywhere, overlay=link in below, fencing=fenced or None, key=None)


def _present(link: str, sessions: tuple[Session, ...], config: Config) -> Lun | None:
    """Describe the LUN that a link leads to now, with all portals that the catalog has."""
    lun = inventory.lun_of_link(link, sessions)
    catalog = lun and lun.wwid and config.by_wwid(lun.wwid)
    return replace(lun, portals=catalog.portals) if lun and catalog else lun


def _told(link: str, known: Iterable[Lun], config: Config) -> Lun | None:
    """Describe the LUN of a link as metadata or catalog tell of it."""
    if told := ours.recorded(link, known):
        return told
    if wwid := Wwid.from_link(link):
        return config.by_wwid(wwid)
    address = inventory.spelled(link)
    return config.by_address(address) if address else None
