"""What to do, given what is there and who needs it. Pure: no clock, no I/O.

There are no reference counts: at any moment the same picture of the world
gives the same actions, whatever happened before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .ledger import Entry
from .lun import Lun, LunAddress, Wwid, id_path
from .sysfs import Disk, Session


@dataclass
class Holds:
    """Who needs what: names of holders by WWID, by address and by device name.

    `local` are those of the WWIDs that links have which lead to disks that are not iSCSI's.
    """

    wwids: dict[str, set[str]] = field(default_factory=dict)
    addresses: dict[LunAddress, set[str]] = field(default_factory=dict)
    devices: dict[str, set[str]] = field(default_factory=dict)
    local: set[str] = field(default_factory=set)

    def wwid(self, wwid: str, holder: str) -> None:
        self.wwids.setdefault(wwid, set()).add(holder)

    def address(self, address: LunAddress, holder: str) -> None:
        self.addresses.setdefault(address, set()).add(holder)

    def device(self, name: str, holder: str) -> None:
        self.devices.setdefault(name, set()).add(holder)

    def of_lun(self, lun: Lun) -> frozenset[str]:
        """Holders of a LUN by what is known of it, wherever it is."""
        return frozenset(
            self.wwids.get(str(lun.wwid), set()) | self.addresses.get(lun.address, set())
        )

    def of_disk(self, session: Session, disk: Disk) -> frozenset[str]:
        holders: set[str] = set()
        holders |= self.wwids.get(disk.wwid, set())
        holders |= self.devices.get(disk.name, set()) | self.devices.get(disk.map, set())
        for address, names in self.addresses.items():
            if address.target == session.target and disk.lun in address.kernel_luns:
                holders |= names
        return frozenset(holders)

    def of_session(self, session: Session) -> frozenset[str]:
        """Holders of the session's disks, and of LUNs of its target that are not here yet."""
        return self.of_target(session.target).union(
            *(self.of_disk(session, disk) for disk in session.disks)
        )

    def of_target(self, target: str) -> frozenset[str]:
        return frozenset(
            name
            for address, names in self.addresses.items()
            if address.target == target
            for name in names
        )


@dataclass(frozen=True)
class View:
    """The world at one moment: what is there, what of it is ours, who needs what."""

    sessions: tuple[Session, ...]
    owned: frozenset[int]  # ids of the sessions that kvmlun made
    entries: tuple[Entry, ...]
    markers: Mapping[str, bool]  # ID_PATH: whether kvmlun scanned for it
    holds: Holds
    lost_maps: frozenset[str] = frozenset()  # UUIDs of multipath maps of ours that are not there
    fenced: Mapping[str, str] = field(default_factory=dict)  # WWID: the phase of this host's key
    exchanged: frozenset[str] = frozenset()  # disks that are not the LUNs of those who use them


@dataclass(frozen=True)
class EndSession:
    session: Session


@dataclass(frozen=True)
class RemoveDisk:
    session: Session
    disk: Disk


@dataclass(frozen=True)
class ForgetEntry:
    entry: Entry


@dataclass(frozen=True)
class DropMarker:
    id_path: str


@dataclass(frozen=True)
class ForgetMap:
    uuid: str


Action = EndSession | RemoveDisk | ForgetEntry | DropMarker | ForgetMap


@dataclass(frozen=True)
class Plan:
    """Actions that are due, and since when (seconds) each idle thing has been idle."""

    actions: tuple[Action, ...]
    idle: dict[Action, float]

    def next_due(self, now: float, grace: float) -> float | None:
        return min((s + grace for s in self.idle.values() if s + grace > now), default=None)


def decide(view: View, idle: Mapping[Action, float], now: float, grace: float) -> Plan:
    """Return what is due at `now`, and keep the rest waiting until `grace` has passed."""
    waiting = {action: idle.get(action, now) for action in _unused(view)}
    due = tuple(action for action, since in waiting.items() if now - since >= grace)
    return Plan(
        actions=due + tuple(_leftovers(view)),
        idle=waiting,
    )


def _unused(view: View) -> Iterable[Action]:
    for session in view.sessions:
        if session.sid in view.owned and not view.holds.of_session(session):
            yield EndSession(_identity(session))
            continue
        for disk in session.disks:
            scanned = view.markers.get(session.id_path(disk) or "", False)
            if scanned and not view.holds.of_disk(session, disk):
                yield RemoveDisk(_identity(session), disk)


def _identity(session: Session) -> Session:
    """The session without what may change while it is idle, so that it stays the same key."""
    return Session(session.sid, session.target, session.portal, "", session.host, ())


def _leftovers(view: View) -> Iterable[Action]:
    present = {session.key for session in view.sessions}
    for entry in view.entries:
        if entry.key not in present and not view.holds.of_target(entry.target):
            yield ForgetEntry(entry)
    disks = {session.id_path(disk) for session in view.sessions for disk in session.disks}
    for marked in view.markers:
        late = any(_may_find(session, marked, view) for session in view.sessions)
        if marked not in disks and not late and not _marker_needed(view.holds, marked):
            yield DropMarker(marked)
    for uuid in view.lost_maps:
        if not map_needed(view.holds, uuid):
            yield ForgetMap(uuid)


def map_needed(holds: Holds, uuid: str) -> bool:
    """Tell whether somebody needs the LUN of a multipath map, by device mapper's UUID."""
    return str(Wwid.from_link(f"dm-uuid-{uuid}")) in holds.wwids


def _may_find(session: Session, marked: str, view: View) -> bool:
    """A scan that was given up goes on when its session is back, and the disk needs its mark."""
    if not (view.markers[marked] and session.portal):
        return False
    any_lun = id_path(session.portal, session.target, 0).removesuffix("0")
    return marked.startswith(any_lun) and (session.sid in view.owned or not session.up)


def _marker_needed(holds: Holds, marked: str) -> bool:
    return any(f"-iscsi-{address.target}-lun-" in marked for address in holds.addresses)
