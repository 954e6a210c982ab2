"""Who needs which LUN, of everything that leases and libvirt tell. Pure but for link look-ups."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator

from . import errors, links
from .domxml import Domain
from .keys import Record
from .leases import START, Lease, Need
from .links import BY_PATH
from .listing import Guest, Listing
from .lun import Lun, LunAddress, Wwid, parse_by_path
from .reconcile import Holds
from .sysfs import Session


def holds(
    leases: Iterable[Lease],
    listing: Listing | None,
    targets: Iterable[str],
    keys: Iterable[Record] = (),
) -> Holds:
    """Gather what leases, running domains and logins under way (`targets`) hold.

    So does a key that is still to be taken off its target.
    """
    found = Holds()
    for lease in leases:
        if not _superseded(lease, listing):
            for need in lease.needs:
                found.address(need.address, lease.name)
                if need.wwid:
                    found.wwid(need.wwid, lease.name)
    for guest in _active(listing):
        if guest.live:
            _hold_domain(found, guest.live)
    for target in targets:
        found.address(LunAddress(target, 0), "a login under way")
    for record in keys:
        found.wwid(record.wwid, record.name)
    return found


def uses(uuid: str, wwid: str, listing: Listing | None, sessions: Iterable[Session]) -> bool:
    """Tell whether a running domain has a LUN; so it has where that can't be told."""
    found = Holds()
    guest = next((guest for guest in _active(listing) if guest.uuid == uuid), None)
    if guest is None or guest.live is None:
        return True
    _hold_domain(found, guest.live)
    disks = [(session, disk) for session in sessions for disk in session.disks]
    return wwid in found.wwids or any(
        found.of_disk(session, disk) for session, disk in disks if disk.wwid == wwid
    )


def _active(listing: Listing | None) -> Iterator[Guest]:
    return (guest for guest in (listing.guests if listing else ()) if guest.active)


def _superseded(lease: Lease, listing: Listing | None) -> bool:
    """Once a later listing shows the domain with its XML, that tells more than the lease."""
    if lease.settled is None or listing is None or listing.began <= lease.settled:
        return False
    return any(guest.uuid == lease.uuid and guest.live for guest in _active(listing))


def _hold_domain(found: Holds, domain: Domain) -> None:
    for link in domain.links:
        found.device(os.path.basename(os.path.realpath(link)), domain.name)
        if wwid := Wwid.from_link(link):
            found.wwid(str(wwid), domain.name)
            if links.judge(link) == links.LOCAL:
                found.local.add(str(wwid))
        elif address := spelled(link):
            found.address(address, domain.name)
    for lun in domain.luns:
        found.address(lun.address, domain.name)
        found.wwid(str(lun.wwid), domain.name)


def spelled(link: str) -> LunAddress | None:
    """Return the address that an iSCSI by-path link spells."""
    try:
        lun = parse_by_path(link) if link.startswith(BY_PATH) else None
    except errors.Invalid:
        return None
    return lun.address if lun else None


def lun_of_link(link: str, sessions: Iterable[Session]) -> Lun | None:
    """Describe the LUN that a link leads to right now, None if it is no disk of a session."""
    node, found = os.path.realpath(link), None
    for session in sessions:
        for disk in session.disks:
            if node not in (disk.node, f"/dev/{disk.map}") or not session.portal:
                continue
            if found:
                # Another path of its multipath map.
                found = dataclasses.replace(found, portals=(*found.portals, session.portal))
                continue
            try:
                wwid = Wwid.from_link(link) or Wwid.parse(disk.wwid)
            except errors.Invalid:
                return None
            address = LunAddress(session.target, disk.lun & 0x3FFF)
            found = Lun(wwid, address, (session.portal,), disk.size)
    return found


def other_needs(
    uuid: str, leases: Iterable[Lease], listing: Listing | None
) -> Iterator[tuple[str, Need]]:
    """Yield domain name and need for every LUN that a domain other than `uuid` uses here."""
    for lease in leases:
        # Who connects a LUN by name says what for; it may well be for this domain.
        if lease.role == START and lease.uuid != uuid and not _superseded(lease, listing):
            yield from ((lease.name, need) for need in lease.needs)
    for guest in _active(listing):
        if guest.live and guest.uuid != uuid:
            yield from ((guest.name, need) for need in _domain_needs(guest.live))


def _domain_needs(domain: Domain) -> Iterator[Need]:
    shareable = {link: disk.shareable for disk in domain.disks for link in disk.links}
    by_wwid = {str(lun.wwid): lun for lun in domain.luns}
    for link, shared in shareable.items():
        wwid, address = Wwid.from_link(link), spelled(link)
        known = by_wwid.get(str(wwid))
        if address is None and known:
            address = known.address
        if address is None and wwid is None:
            continue
        place = address or LunAddress("", 0)
        yield Need(place.target, place.lun, str(wwid or _recorded(domain, place)), shared)


def _recorded(domain: Domain, address: LunAddress) -> str:
    return next((str(lun.wwid) for lun in domain.luns if lun.address == address), "")
