"""Taking another LUN for the one that is pinned: the only way in which a pin changes."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from . import catalog, domxml, errors, inventory, libiscsi
from .config import Config
from .domains import Domains
from .libvirtconn import Libvirt
from .links import BY_PATH
from .listing import Guest
from .lun import Lun, Wwid, parse_by_path
from .reconcile import Holds
from .steps import step


@dataclass(frozen=True)
class Comparison:
    """What is pinned for a LUN, by the catalog or by domains, and what the target shows there.

    `size` is in bytes. `domains` are those whose metadata has another pin than that; `links` are
    sources that spell one, by the name of their domain, which only its operator can change.
    """

    lun: Lun
    pinned: tuple[Wwid, ...]
    found: Wwid
    size: int
    domains: tuple[str, ...]
    links: tuple[tuple[str, str], ...]


class Repin:
    """Compares and replaces pins."""

    def __init__(
        self,
        config: Callable[[], Config],
        domains: Domains,
        holds: Callable[[], Holds],
        libvirt: Libvirt,
    ) -> None:
        self._config = config
        self._domains = domains
        self._holds = holds
        self._libvirt = libvirt

    async def compare(self, what: str) -> Comparison:
        """Look at a volume, or at what a by-path link spells; changes nothing.

        Raises errors.Unknown, errors.Invalid, errors.Config for a bad secret, errors.Storage where
        the target does not answer, errors.Refused where it shows no LUN of use.
        """
        lun = self._named(what)
        with step(f"{lun.address} at {', '.join(lun.addresses)}"):
            found = await asyncio.to_thread(_shown, lun)
        return comparison(lun, Wwid.parse(found.wwid), found.size, self._domains.guests)

    async def repin(self, what: str, wwid: str) -> Comparison:
        """Pin the LUN that is there, if it is `wwid`, in the catalog and in domains' metadata.

        The daemon's configuration is to be read again then, whatever happens. Raises as
        compare(), and errors.Refused where another LUN is there or a VM has the LUN; nothing has
        changed then. Where metadata can't be written (errors.Storage) it can be called again.
        """
        wanted = Wwid.parse(wwid)
        made = await self.compare(what)
        if made.found != wanted:
            raise errors.Refused(f"{made.lun.address} is {made.found} now, not {wanted}")
        listing = self._domains.known(
            lambda why: errors.Refused(f"nobody knows which VM has the LUN: {why}")
        )
        holders = frozenset[str]().union(
            *(
                self._holds().of_lun(dataclasses.replace(made.lun, wwid=each))
                for each in (wanted, *made.pinned)
            )
        )
        if holders:
            raise errors.Refused(f"{made.lun} is in use by {', '.join(sorted(holders))}")
        if made.lun.volume and made.lun.wwid != wanted:
            catalog.repin(made.lun.volume, wanted)
        for guest in listing.guests:
            if luns := repinned(guest, made):
                xml = domxml.metadata(guest.uuid, luns)
                await self._libvirt.set_metadata(guest.uuid, False, xml)
        return made

    def _named(self, what: str) -> Lun:
        config = self._config()
        spelled = parse_by_path(what) if what.startswith(BY_PATH) else None
        if spelled is None:
            return config.volume(what)
        return config.by_address(spelled.address) or spelled


def _shown(lun: Lun) -> libiscsi.FoundLun:
    found = libiscsi.Initiator.of_host(lun.secret).at(lun)
    if not found.wwid:
        raise errors.Refused(f"{lun.address} tells no identity in VPD page 0x83")
    return found


def comparison(lun: Lun, found: Wwid, size: int, guests: Iterable[Guest]) -> Comparison:
    """Compare what is pinned with what was `found`. Pure."""
    guests = list(guests)
    recorded = [(guest.name, each) for guest in guests for each in _by_path(guest, lun)]
    pins = [lun.wwid, *(each.wwid for _, each in recorded)]
    pinned = tuple(dict.fromkeys(wwid for wwid in pins if wwid))
    old = {wwid for wwid in pinned if wwid != found}
    return Comparison(
        lun=lun,
        pinned=pinned,
        found=found,
        size=size,
        domains=tuple(dict.fromkeys(name for name, each in recorded if each.wwid != found)),
        links=tuple(
            (guest.name, link)
            for guest in guests
            for link in (guest.persistent.links if guest.persistent else ())
            if Wwid.from_link(link) in old
        ),
    )


def repinned(guest: Guest, made: Comparison) -> tuple[Lun, ...]:
    """Return the metadata that a domain should have, nothing if it has that. Pure."""
    if not guest.persistent:
        return ()
    old = [lun for lun in _by_path(guest, made.lun) if lun.wwid != made.found]
    # A size that the new LUN may not have is not to be asked of it.
    new = {lun: dataclasses.replace(lun, wwid=made.found, size=None) for lun in old}
    return tuple(new.get(lun, lun) for lun in guest.persistent.luns) if old else ()


def _by_path(guest: Guest, wanted: Lun) -> Iterator[Lun]:
    """Yield what a domain recorded of a LUN that it names by its address.

    A by-id link spells its pin itself, and metadata that agrees with it is right.
    """
    domain = guest.persistent
    if domain and any(inventory.spelled(link) == wanted.address for link in domain.links):
        yield from (lun for lun in domain.luns if lun.address == wanted.address)
