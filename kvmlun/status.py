"""What an operator sees: each LUN and each session, as plain values. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from . import errors
from .config import Config
from .lun import Lun, LunAddress, Wwid
from .reconcile import View
from .reservation import Reservation
from .sysfs import Disk, Session


@dataclass(frozen=True)
class LunStatus:
    """A LUN that is here, is needed here or stands in the catalog. `size` is in bytes.

    `state` is one of: in-use (a VM needs it, its sessions are up), degraded (a VM
    needs it, some of its sessions are not logged in, its multipath map goes on by the
    others), down (a VM needs it, its session is not logged in), exchanged (a running VM
    has it open, and it is another LUN now), missing (a VM needs it, it is not here),
    idle (here, but nobody needs it), absent (neither here nor needed). `key` is the phase of
    this host's key on a fenced LUN (keys.py), "" where it has none.
    """

    wwid: str
    volume: str
    target: str
    lun: int
    portals: tuple[str, ...]
    device: str
    link: str
    size: int
    sessions: tuple[int, ...]
    domains: tuple[str, ...]
    state: str
    key: str


@dataclass(frozen=True)
class SessionStatus:
    """An iSCSI session to a target that kvmlun deals with; `owned` if kvmlun made it.

    `iface` is "" for open-iscsi's default one.
    """

    sid: int
    target: str
    portal: str
    iface: str
    state: str
    owned: bool


@dataclass(frozen=True)
class ReservationStatus:
    """What a target said of a LUN that is here; `can` is what it is able to do, for people.

    `fencing` is whether this host fences it, `here` whether this host is the holder, and `phase`
    that of its key (keys.py).
    """

    wwid: str
    volume: str
    fencing: bool
    phase: str
    here: bool
    can: str
    reservation: Reservation


# Of a LUN.
STATES = ("in-use", "degraded", "down", "exchanged", "missing", "idle", "absent")
# Of the paths to a LUN the worst one's state is shown.
_WORST = ("exchanged", "down", "degraded", "in-use", "idle")


def sessions(view: View, config: Config) -> list[SessionStatus]:
    targets = {lun.address.target for lun in config.volumes.values()}
    targets |= {address.target for address in view.holds.addresses}
    return [
        SessionStatus(
            sid=s.sid,
            target=s.target,
            portal=s.portal.address if s.portal else "",
            iface=s.portal.iface if s.portal else "",
            state=s.state,
            owned=s.sid in view.owned,
        )
        for s in view.sessions
        if s.sid in view.owned or s.target in targets or any(_concerns(view, s, d) for d in s.disks)
    ]


def luns(view: View, config: Config) -> list[LunStatus]:
    """Return every LUN once, those that are here first."""
    found = _merged(_present(view, config))
    seen = {lun.wwid for lun in found}
    for lun in config.volumes.values():
        if str(lun.wwid) not in seen:
            found.append(_not_here(lun, view))
            seen.add(str(lun.wwid))
    for wwid, names in sorted(view.holds.wwids.items()):
        if wwid not in seen and wwid not in view.holds.local:
            lun = Lun(Wwid.parse(wwid), LunAddress("", 0), ())
            found.append(dataclasses.replace(_not_here(lun, view), domains=tuple(sorted(names))))
    return found


def holders(view: View, config: Config) -> list[str]:
    """Return who needs LUNs on this host, also one of which nothing but its address is known."""
    names = {name for lun in luns(view, config) for name in lun.domains}
    return sorted(names.union(*view.holds.addresses.values()))


def _concerns(view: View, session: Session, disk: Disk) -> bool:
    marked = (session.id_path(disk) or "") in view.markers
    return marked or bool(view.holds.of_disk(session, disk))


def _present(view: View, config: Config) -> Iterator[LunStatus]:
    for session in view.sessions:
        for disk in session.disks:
            wwid = _wwid(disk)
            volume = wwid and config.by_wwid(wwid)
            if not volume and not _concerns(view, session, disk):
                continue
            domains = tuple(sorted(view.holds.of_disk(session, disk)))
            yield LunStatus(
                wwid=disk.wwid,
                volume=(volume.volume if volume else "") or "",
                target=session.target,
                lun=disk.lun & 0x3FFF,
                portals=(session.portal.address if session.portal else "",),
                device=f"/dev/{disk.map or disk.name}",
                link=_link(wwid),
                size=disk.size,
                sessions=(session.sid,),
                domains=domains,
                state=_state(view, session, disk, bool(domains)),
                key=view.fenced.get(disk.wwid, ""),
            )


def _state(view: View, session: Session, disk: Disk, needed: bool) -> str:
    if disk.name in view.exchanged:
        return "exchanged"
    if not needed:
        return "idle"
    if session.up:
        return "in-use"
    others = (d for s in view.sessions if s.up for d in s.disks if d.wwid == disk.wwid)
    return "degraded" if any(other.map for other in others) else "down"


def _merged(luns: Iterable[LunStatus]) -> list[LunStatus]:
    """Make one of what several sessions show of one LUN; the first one's device is shown."""
    found: dict[str, LunStatus] = {}
    for lun in luns:
        first = found.setdefault(lun.wwid, lun)
        if first is not lun:
            found[lun.wwid] = dataclasses.replace(
                first,
                portals=first.portals + lun.portals,
                sessions=first.sessions + lun.sessions,
                state=min(first.state, lun.state, key=_WORST.index),
            )
    return list(found.values())


def _wwid(disk: Disk) -> Wwid | None:
    try:
        return Wwid.parse(disk.wwid)
    except errors.Invalid:
        return None


def _link(wwid: Wwid | None) -> str:
    try:
        return wwid.link if wwid else ""
    except errors.Invalid:
        return ""


def _not_here(lun: Lun, view: View) -> LunStatus:
    domains = view.holds.of_lun(lun)
    return LunStatus(
        wwid=str(lun.wwid),
        volume=lun.volume or "",
        target=lun.address.target,
        lun=lun.address.lun,
        portals=lun.addresses,
        device="",
        link=_link(lun.wwid),
        size=lun.size or 0,
        sessions=(),
        domains=tuple(sorted(domains)),
        state="missing" if domains else "absent",
        key=view.fenced.get(str(lun.wwid), ""),
    )


def volumes(catalog: Iterable[Lun]) -> list[dict[str, object]]:
    """Return catalog entries as they would be written in YAML, plus name and link.

    A secret is told by its name; `fencing` is "" where the volume does not say.
    """
    return [
        {
            "name": lun.volume or "",
            "wwid": str(lun.wwid),
            "target": lun.address.target,
            "lun": lun.address.lun,
            "portals": list(lun.addresses),
            "ifaces": list(lun.ifaces),
            "min_paths": lun.min_paths,
            "link": _link(lun.wwid),
            "fencing": "" if lun.fencing is None else str(lun.fencing).lower(),
            "secret": lun.secret or "",
        }
        for lun in catalog
    ]
