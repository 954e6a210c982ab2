"""The domains of this host, as libvirt has listed them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from .domxml import Domain


@dataclass(frozen=True)
class Guest:
    """A domain. `live` is None while it is inactive, and while libvirt can't give its XML yet.

    `settled` is false during a migration, when metadata must not be written. In transit it stands
    still here, and may be about to run, or run, on another host.
    """

    uuid: str
    name: str
    active: bool
    live: Domain | None
    persistent: Domain | None
    settled: bool
    in_transit: bool = False


@dataclass(frozen=True)
class Listing:
    """All domains as of some moment after `began` (boottime() seconds)."""

    began: float
    guests: tuple[Guest, ...]

    @property
    def shown(self) -> frozenset[str]:
        """The UUIDs of the domains whose live XML libvirt gave."""
        return frozenset(guest.uuid for guest in self.guests if guest.live)

    def named(self, vm: str) -> Iterator[Guest]:
        """Yield the domains of which `vm` is the name or the UUID."""
        return (guest for guest in self.guests if vm in (guest.name, guest.uuid))

    def without(self, ended: Collection[str]) -> Listing:
        """Return the listing with the domains of these UUIDs off: only what is defined is left."""
        return Listing(self.began, tuple(_guests_without(self.guests, ended)))


def _guests_without(guests: Iterable[Guest], ended: Collection[str]) -> Iterator[Guest]:
    for guest in guests:
        if guest.uuid not in ended:
            yield guest
        elif guest.persistent:
            # Nothing is written to it before libvirt has shown it once more.
            yield replace(guest, active=False, live=None, settled=False, in_transit=False)
