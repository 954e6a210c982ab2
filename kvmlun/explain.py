"""What a start of a domain would do here and now, disk by disk, and why. Pure.

The rules are those of ours.py, login.py, attach.py and hold.py; this only says them beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import errors, links, loginprobe, ours, proof, sizes
from .attach import find_disk
from .domxml import Disk as DomainDisk
from .domxml import Domain
from .login import candidates
from .lun import Lun, Portal
from .request import Request
from .status import ReservationStatus
from .sysfs import Disk, Session, unserved

# Verdicts: it is so already, it would be done, it would be refused, and what is good to know.
OK, DO, REFUSED, NOTE = "ok", "do", "refused", "note"


@dataclass(frozen=True)
class Line:
    """`disk` is its name in the guest, "" for what is not about one."""

    disk: str
    verdict: str
    text: str


@dataclass(frozen=True)
class Known:
    """A source link of a disk, and what it means: without `lun` it is not ours, or `problem` says
    why that can't be told. `mapped` is whether it is used by a multipath map."""

    disk: DomainDisk
    link: str
    lun: Lun | None
    problem: str = ""
    mapped: bool = False


@dataclass(frozen=True)
class World:
    """What was found out for the sources of one domain.

    `closed` tells of target and portal why no login would succeed, `foreign` are those with an
    operator's node record. `facts` is what a disk (by name) says of itself, or why it says nothing.
    """

    sessions: tuple[Session, ...]
    owned: frozenset[int]
    grace: float
    arriving: bool = False
    closed: Mapping[tuple[str, Portal], str] = field(default_factory=dict)
    foreign: frozenset[tuple[str, Portal]] = frozenset()
    facts: Mapping[str, Mapping[str, Any] | str] = field(default_factory=dict)
    reservations: Mapping[str, ReservationStatus] = field(default_factory=dict)


_Said = Iterator[tuple[str, str]]  # verdict and text


def lines(domain: Domain, found: Iterable[Known], world: World, running: bool) -> list[Line]:
    made = [
        Line(known.disk.target, verdict, text)
        for known in found
        for verdict, text in _of_link(domain, known, world, running)
    ]
    for target, source in domain.others:
        what = f"{source} is" if source else "an empty drive is"
        text = f"{what} no link in /dev/disk/by-id or by-path, so not kvmlun's; libvirt opens it"
        made.append(Line(target, NOTE, text))
    return made


def _of_link(domain: Domain, known: Known, world: World, running: bool) -> _Said:
    if known.problem:
        yield REFUSED, known.problem
        return
    if known.lun is None:
        yield NOTE, f"{known.link}: {_not_ours(known.link)}, so not kvmlun's; libvirt opens it"
        return
    lun, request = known.lun, ours.request(domain, known.disk, known.link, known.lun)
    yield OK, _origin(known.link, lun, request, domain.luns)
    there = [session for session in candidates(request, world.sessions) if session.up]
    logins = [] if running else list(_logins(request, known.mapped, world))
    yield from logins
    if REFUSED not in dict(logins):
        yield from _disks(request, known.mapped, there, world, running)
    yield from _fencing(request, domain.name, known.disk, world, running)
    if not known.disk.movable:
        cache = known.disk.cache or "default"
        yield NOTE, f"cache='{cache}': a migration would be refused; cache='none' allows it"
    if running:
        yield NOTE, _end(there, world)


def _not_ours(link: str) -> str:
    judged = links.judge(link)
    if judged == links.UNSEEN:
        return "it does not exist here, and neither /etc/kvmlun nor the VM's metadata knows it"
    return f"it is {judged}"


def _origin(link: str, lun: Lun, request: Request, metadata: Iterable[Lun]) -> str:
    """Say which LUN a link means, and who says so."""
    where = f"LUN {lun.address.lun} of {lun.address.target} at {', '.join(lun.addresses)}"
    if lun.volume:
        source = f"volume {lun.volume} in /etc/kvmlun"
    elif ours.recorded(link, metadata):
        source = "the VM's own metadata"
    elif link.startswith(links.BY_PATH):
        source = "the link itself"
    else:
        source = "a session that is here; without one it is not known where to log in"
    pin = request.pinned or "not pinned yet: what is there at the first start will be"
    return f"{link} is {where} ({pin}), says {source}"


# sessions


def _logins(request: Request, mapped: bool, world: World) -> _Said:
    """Say what would bring a session, or for a map one to each portal."""
    target, portals = request.lun.address.target, request.lun.portals
    existing = candidates(request, world.sessions)
    for session in existing:
        verdict = OK if session.up else DO
        state = "is logged in" if session.up else f"is {session.state}; wait until it is back"
        yield verdict, f"session {session.sid} to {session.portal} {state}{_maker(session, world)}"
    if existing and not mapped:
        return
    ways = len(existing)
    for portal in unserved(portals, existing):
        why = world.closed.get((target, portal), "")
        if why and not (why == loginprobe.WANTS_CHAP and request.lun.secret):
            yield NOTE, f"no login to {target} at {portal}: {why}"
            continue
        ways += 1
        secret = f" with the secret {request.lun.secret}" if request.lun.secret else ""
        record = ", by the operator's node record" if (target, portal) in world.foreign else ""
        yield DO, f"log in to {target} at {portal}{secret}{record}"
        if not mapped:
            return
    least = request.lun.min_paths if mapped else 1
    if ways < least:
        yield REFUSED, f"{ways} of the {least} paths that {request} needs can be had now"


def _maker(session: Session, world: World) -> str:
    return "" if session.sid in world.owned else " (borrowed: somebody else made it)"


# disks


def _disks(
    request: Request, mapped: bool, there: Iterable[Session], world: World, running: bool
) -> _Said:
    seen = False
    for session in there:
        disk = find_disk(session, request.lun)
        if disk is None:
            continue
        seen = True
        yield from _disk(request, mapped, disk, world.facts.get(disk.name, "not asked"), running)
    if not seen and running:
        yield NOTE, "its disk does not answer now: no session is up that has it"
    elif not seen:
        size = f", at least {sizes.text(request.lun.size)}" if request.lun.size else ""
        must = f": it must be {request.pinned}{size}" if request.pinned else ""
        yield DO, f"scan for LUN {request.lun.address.lun}, mark it a guest's, wait for udev"
        yield DO, f"ask the disk itself who it is (INQUIRY, VPD page 0x83){must}"


def _disk(
    request: Request, mapped: bool, disk: Disk, facts: Mapping[str, Any] | str, running: bool
) -> _Said:
    if isinstance(facts, str):
        yield NOTE if running else REFUSED, f"{disk.node} does not say who it is: {facts}"
        return
    if disk.holders and not mapped:
        yield REFUSED, f"{', '.join(disk.holders)} on this host holds {disk.node}"
    if disk.map and mapped:
        facts = {**facts, "claimed": False}
    try:
        address = request.lun.address
        wwid = proof.identity(str(request), request.pinned, address, facts, disk.node)
        if not running:
            proof.usable(str(request), request.lun, facts, request.read_only, disk.node)
    except errors.Error as problem:
        yield REFUSED, str(problem)
        return
    above = f", a path of /dev/{disk.map}" if disk.map else ""
    size = sizes.text(facts["size"])
    yield OK, f"{disk.node}{above} says itself that it is {wwid}, {size}"


# fencing


def _fencing(request: Request, vm: str, disk: DomainDisk, world: World, running: bool) -> _Said:
    if not request.fenced:
        yield NOTE, _unfenced(disk)
        return
    found = world.reservations.get(str(request.pinned))
    holder = found.reservation.holder if found else None
    if found and found.here:
        yield OK, "fenced: this host holds it, the target refuses the writes of others"
    elif holder and world.arriving:
        yield DO, f"fenced: register beside {holder.text}, from which the VM arrives"
    elif holder and running:
        yield NOTE, f"fenced: {holder.text} holds it, so nothing here can write: see kvmlun status"
    elif holder:
        remedy = f"if that host is dead: kvmlun takeover {vm}"
        yield REFUSED, f"fenced: {holder.text} holds it; {remedy}"
    elif running:
        yield NOTE, "fenced, but this host does not hold it: see kvmlun status"
    else:
        known = "nobody holds it" if found else "refused if another host holds it then"
        yield DO, f"fenced: register this host's key and reserve the LUN; {known}"


def _unfenced(disk: DomainDisk) -> str:
    if disk.alone:
        return "not fenced: nothing keeps another host from writing to it (fencing: true does)"
    why = "<shareable/>" if disk.shareable else "<readonly/>" if disk.read_only else "device='lun'"
    return f"not fenced, since its disk is {why}"


def _end(there: Iterable[Session], world: World) -> str:
    borrowed = [session for session in there if session.sid not in world.owned]
    if borrowed:
        return "when the VM has ended its session stays: it is borrowed"
    return f"when the VM has ended it goes after {world.grace:g} s, if nobody else needs it"
