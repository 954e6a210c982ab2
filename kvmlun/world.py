"""What is on this host now, and who needs it: looked at anew each time it is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from . import errors, inventory, reconcile, status, sysfs
from .config import Config
from .domains import Domains
from .keys import Keys, Record
from .leases import Leases
from .ledger import Ledger
from .markers import Markers
from .reconcile import Holds, View
from .sysfs import Disk, Session


class World:
    """`logging_in` are the targets of logins under way, `exchanged` the disks of guard.py."""

    def __init__(
        self,
        domains: Domains,
        leases: Leases,
        ledger: Ledger,
        markers: Markers,
        keys: Keys,
        logging_in: Callable[[], Iterable[str]],
        exchanged: Callable[[], frozenset[str]],
    ) -> None:
        self._domains = domains
        self._leases = leases
        self._ledger = ledger
        self._markers = markers
        self._keys = keys
        self._logging_in = logging_in
        self._exchanged = exchanged

    @property
    def has_ours(self) -> bool:
        """Whether there is anything that may have to be taken away."""
        return bool(self._ledger.entries or self._markers.all or self._leases.all)

    def holds(self) -> Holds:
        return self._holds(self._logging_in())

    def _holds(self, targets: Iterable[str]) -> Holds:
        return inventory.holds(self._leases.all, self._domains.listing, targets, self._keys.all)

    def holders(self, config: Config) -> list[str]:
        """Return who needs LUNs here; raises errors.Storage before libvirt has told who runs."""
        self._domains.known(
            lambda why: errors.Storage(f"nobody knows which VMs run here: {why}"), old=True
        )
        return status.holders(dataclasses.replace(self.view(), holds=self._holds(())), config)

    def view(self) -> View:
        sessions = sysfs.sessions()
        return View(
            sessions=sessions,
            owned=frozenset(s.sid for s in sessions if self._ledger.owns(s)),
            entries=self._ledger.entries,
            markers={path: self._markers.scanned(path) for path in self._markers.all},
            holds=self.holds(),
            lost_maps=self._markers.maps - {found.uuid for found in sysfs.maps()},
            exchanged=self._exchanged(),
            fenced={record.wwid: record.phase for record in self._keys.all},
        )

    # who needs it

    def needs_session(self, sid: int) -> bool:
        session = sysfs.session(sid)
        return session is not None and bool(self.holds().of_session(session))

    def needs_disk(self, sid: int, disk: Disk) -> bool:
        session = sysfs.session(sid)
        return session is not None and bool(self.holds().of_disk(session, disk))

    def others_need_disk(self, uuid: str, session: Session, disk: Disk) -> bool:
        """Tell whether any domain but `uuid` needs a disk; so it is where that can't be told."""
        others = [lease for lease in self._leases.all if lease.uuid != uuid]
        listing = self._domains.listing
        return listing is None or bool(inventory.holds(others, listing, ()).of_disk(session, disk))

    def needs_map(self, uuid: str) -> bool:
        return reconcile.map_needed(self.holds(), uuid)

    def needs_target(self, target: str) -> bool:
        return bool(self.holds().of_target(target))

    def needs_key(self, record: Record) -> bool:
        return bool(self._leases.get(record.uuid)) or self._domains.may_run(record.uuid)

    def uses(self, record: Record) -> bool:
        """Tell whether a running domain has the LUN of its key."""
        return inventory.uses(record.uuid, record.wwid, self._domains.listing, sysfs.sessions())
