"""Making a LUN ready on this host: session, disk, udev's links, and the proof of identity."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

from . import errors, events, lun, proof, sysfs
from .login import OTHERS_SECONDS, Logins, candidates
from .lun import Lun, Wwid
from .maps import Maps
from .markers import Markers
from .request import Request
from .sysfs import Disk, Map, Session
from .udev import Record, Udev
from .wait import Changes, Deadline, enough
from .worker import Workers

log = logging.getLogger("kvmlun.attach")
T = TypeVar("T")


class Attacher:
    """Brings LUNs to this host. All methods raise errors.Error.

    `purge` removes a stale disk that nobody but the asking domain needs, and
    tells whether it did; `admit` lets paths be used that a map is to get.
    """

    def __init__(
        self,
        logins: Logins,
        maps: Maps,
        markers: Markers,
        workers: Workers,
        udev: Udev,
        changes: Changes,
        purge: Callable[[Request, Session, Disk, Deadline], Awaitable[bool]],
        admit: Callable[[Request, Sequence[Disk], Deadline], Awaitable[None]],
    ) -> None:
        self._logins = logins
        self._maps = maps
        self._markers = markers
        self._workers = workers
        self._udev = udev
        self._changes = changes
        self._purge = purge
        self._admit = admit

    async def attach(self, request: Request, deadline: Deadline) -> Wwid:
        """Make the LUN ready and return its proven WWID."""
        with events.about(wwid=str(request.pinned or "")):
            return await self._attach(request, deadline)

    async def _attach(self, request: Request, deadline: Deadline) -> Wwid:
        if await self._maps.wanted(request, deadline):
            return await self._attach_map(request, deadline)
        if len(request.lun.portals) > 1:
            log.debug("%s: one of %d portals is used", request, len(request.lun.portals))
        async with self._logins.lock(request.lun.address.target, deadline):
            session = await self._logins.session(request, deadline)
        disk, wwid = await self._path(request, session, deadline, mapped=False)
        _check_link(request, disk)
        return wwid

    async def _attach_map(self, request: Request, deadline: Deadline) -> Wwid:
        above, wwid = await self.paths(request, deadline)
        await self._prove_map(request, above, deadline)
        record = self._udev.record(above.name)
        if record and not record.guest:
            # Somebody else's map, or one that multipathd made before it was marked.
            await self._scsi(request, deadline, "change", above.name)

        def ready() -> bool:
            record = self._udev.record(above.name)
            made = record and record.guest and os.path.realpath(request.link) == above.node
            return bool(made)

        what = f"{request}: udev's event for {above.node}, which makes {request.link}"
        await self._changes.until(ready, deadline, what)
        return wwid

    async def paths(
        self,
        request: Request,
        deadline: Deadline,
        patience: float = OTHERS_SECONDS,
        tolerated: tuple[type[errors.Error], ...] = (errors.Storage,),
    ) -> tuple[Map, Wwid]:
        """Have the LUN's paths, as many as answer, in its multipath map.

        Once `min_paths` are there the others have `patience` (seconds) more. A path with an error
        that is not `tolerated` is a reason to use none.
        """
        assert request.pinned
        async with self._logins.lock(request.lun.address.target, deadline):
            sessions = await self._logins.sessions(request, deadline)
        self._maps.expect(request.pinned)
        found = await self._enough(
            request,
            [self._path(request, session, deadline, mapped=True) for session in sessions],
            patience,
            tolerated,
        )
        wwid = found[0][1]
        await self._admit(request, [disk for disk, _ in found], deadline)
        above = await self._maps.have(str(request), wwid, [disk for disk, _ in found], deadline)
        return above, wwid

    async def _enough(
        self,
        request: Request,
        calls: Sequence[Coroutine[Any, Any, T]],
        patience: float = OTHERS_SECONDS,
        tolerated: tuple[type[errors.Error], ...] = (errors.Storage,),
    ) -> list[T]:
        """Return what at least `min_paths` calls give; a path that hangs holds up no VM."""
        found, problems = await enough(calls, request.lun.min_paths, patience)
        for problem in problems:
            if not isinstance(problem, tolerated):
                raise problem
        if len(found) < request.lun.min_paths:
            raise problems[0] if problems else errors.Refused(f"{request}: no path is left")
        for problem in problems:
            log.warning("%s: a path less: %s", request, problem)
        return found

    async def verify(self, request: Request, deadline: Deadline) -> Wwid:
        """Prove again what is there now, bringing nothing."""
        gone = errors.Refused(f"{request}: {request.lun} is gone from this host")
        if not candidates(request, sysfs.sessions()):
            raise gone
        session = await self._logins.logged_in(request, deadline, "to be back")
        if await self._maps.wanted(request, deadline):
            return await self._verify_map(request, deadline)
        disk = find_disk(session, request.lun)
        if not disk:
            raise gone
        wwid = await self._prove(request, session, disk, deadline, mapped=False)
        _check_link(request, disk)
        return wwid

    async def _verify_map(self, request: Request, deadline: Deadline) -> Wwid:
        paths = [
            (session, disk)
            for session in candidates(request, sysfs.sessions())
            if session.up and (disk := find_disk(session, request.lun)) and disk.map
        ]
        above = sysfs.multipath_map(paths[0][1]) if paths else None
        if above is None:
            raise errors.Refused(f"{request}: its multipath map is gone from this host")
        wwids = await self._enough(
            request, [self._prove(request, *path, deadline, mapped=True) for path in paths]
        )
        await self._prove_map(request, above, deadline)
        _check_link(request, above)
        return wwids[0]

    async def _path(
        self, request: Request, session: Session, deadline: Deadline, mapped: bool
    ) -> tuple[Disk, Wwid]:
        """Have the LUN's disk behind a session, proven to be the LUN."""
        found = find_disk(session, request.lun)
        session, disk = await self._visible(request, session, found, deadline, mapped)
        try:
            return disk, await self._prove(request, session, disk, deadline, mapped)
        except errors.Stale as error:
            stale = str(error)
            if found is None or not await self._purged(request, session, disk, stale, deadline):
                raise
        session, disk = await self._visible(request, session, None, deadline, mapped)
        return disk, await self._prove(request, session, disk, deadline, mapped)

    async def _purged(
        self, request: Request, session: Session, disk: Disk, stale: str, deadline: Deadline
    ) -> bool:
        try:
            return await self._purge(request, session, disk, deadline)
        except errors.Error as problem:
            raise errors.Stale(f"{stale}; the old device can't be removed: {problem}") from problem

    # disk

    async def _visible(
        self,
        request: Request,
        session: Session,
        disk: Disk | None,
        deadline: Deadline,
        mapped: bool,
    ) -> tuple[Session, Disk]:
        """Have the disk present, marked as a guest's, and known to udev as such."""
        after = 0.0
        if disk is None:
            after = time.clock_gettime(time.CLOCK_MONOTONIC)
            await self._scan(request, session, deadline)
        else:
            await self._refresh(request, session, disk, deadline, mapped)

        def ready() -> tuple[Session, Disk] | None:
            record = self._record(request, session)
            # The record is written after the links are made. One from before the scan is that of
            # a disk that had the same name and whose removal udev has not handled yet.
            if not record or not _as_wanted(record, mapped) or record.since < after:
                return None
            current = sysfs.session(session.sid)
            found = current and find_disk(current, request.lun)
            return (current, found) if current and found else None

        what = f"{request}: udev's event for {session.id_path(disk) if disk else 'the new disk'}"
        return await self._changes.until(ready, deadline, what)

    def _record(self, request: Request, session: Session) -> Record | None:
        assert session.host is not None
        names = (sysfs.disk_name(session.host, n) for n in request.lun.address.kernel_luns)
        name = next(filter(None, names), None)
        return self._udev.record(name) if name else None

    async def _scan(self, request: Request, session: Session, deadline: Deadline) -> None:
        assert session.portal is not None and session.host is not None
        address = request.lun.address
        for number in address.kernel_luns:
            id_path = lun.id_path(session.portal, session.target, number)
            self._markers.put(id_path, scanned=True, wwid=request.pinned)
            await self._scsi(request, deadline, "scan", session.host, number)
            if sysfs.has_lun(session.host, number):
                return
        now = sysfs.session(session.sid)
        if now and not now.up:
            # A scan finds nothing while the session is down.
            await self._logins.logged_in(request, deadline, "to be back")
            return await self._scan(request, session, deadline)
        raise errors.Refused(
            f"{request}: {address.target} at {session.portal} shows this host no LUN "
            f"{address.lun}; is it mapped to this host's initiator name?"
        )

    async def _refresh(
        self, request: Request, session: Session, disk: Disk, deadline: Deadline, mapped: bool
    ) -> None:
        await self._scsi(request, deadline, "rescan", disk.hctl)
        record = self._udev.record(disk.name)
        if record and _as_wanted(record, mapped):
            return
        id_path = session.id_path(disk) or ""
        if id_path not in self._markers:
            self._markers.put(id_path, scanned=False, wwid=request.pinned)
        await self._scsi(request, deadline, "change", disk.name)

    # proof

    async def _prove(
        self, request: Request, session: Session, disk: Disk, deadline: Deadline, mapped: bool
    ) -> Wwid:
        """Contract: what QEMU is about to open is the pinned LUN, whole, writable and unused.

        A path that is `mapped` is used by its map, for which the rest is proven in its place.
        """
        with _named(request):
            facts = await self._workers.probe(disk.name, disk.number, deadline.left)
        wwid = proof.identity(str(request), request.pinned, request.lun.address, facts, disk.node)
        if record := self._udev.record(disk.name):
            proof.fresh(str(request), facts, disk.node, record.serial)
        sessions = sysfs.sessions()
        await self._refuse_twins(request, wwid, session.target, sessions, deadline)
        _refuse_holders(request, session, sessions, mapped)
        if mapped and sysfs.multipath_map(disk):
            facts = {**facts, "claimed": False}
        proof.usable(str(request), request.lun, facts, request.read_only, disk.node)
        if disk.partitions:
            numbers = [int(name.removeprefix(disk.name)) for name in disk.partitions]
            await self._scsi(request, deadline, "drop_partitions", disk.name, disk.number, numbers)
        return wwid

    async def _refuse_twins(
        self,
        request: Request,
        wwid: Wwid,
        target: str,
        sessions: tuple[Session, ...],
        deadline: Deadline,
    ) -> None:
        for other, disk in proof.twins(wwid, target, sessions):
            try:
                facts = await self._workers.probe(disk.name, disk.number, deadline.left)
                if not proof.is_twin(wwid, facts):
                    continue
            except errors.Storage as problem:
                log.warning("%s: %s may be the same LUN: %s", request, disk.node, problem)
            raise errors.Refused(
                f"{request}: {target} and {other} both have a LUN {wwid}; "
                "give one of them an identity of its own on the array"
            )

    async def _prove_map(self, request: Request, above: Map, deadline: Deadline) -> None:
        """What QEMU opens; multipathd may have added paths that were not proven one by one."""
        with _named(request):
            facts = await self._workers.probe(above.name, above.number, deadline.left)
        address = request.lun.address
        wwid = proof.identity(str(request), request.pinned, address, facts, above.node)
        proof.usable(str(request), request.lun, facts, request.read_only, above.node)
        disks = {disk.name: disk for session in sysfs.sessions() for disk in session.disks}
        strange = [n for n in above.paths if n not in disks or disks[n].wwid != str(wwid)]
        if strange:
            raise errors.Refused(
                f"{request}: {above.node} has paths that are not its LUN's: {', '.join(strange)}"
            )

    async def _scsi(self, request: Request, deadline: Deadline, call: str, *args: object) -> None:
        with _named(request):
            await self._workers.call(call, *args, timeout=deadline.left)


@contextlib.contextmanager
def _named(request: Request) -> Iterator[None]:
    """Say in the error of a step that knows only its device what it was for."""
    try:
        yield
    except errors.Storage as error:
        portals = ", ".join(map(str, request.lun.portals))
        raise type(error)(
            f"{request}: {request.lun.address} at {portals}: {error}; is the storage network up?"
        ) from error


def find_disk(session: Session, wanted: Lun) -> Disk | None:
    """Return the disk of `wanted` behind a session."""
    numbers = wanted.address.kernel_luns
    return next((disk for disk in session.disks if disk.lun in numbers), None)


def opened(
    request: Request, device: str, sessions: Sequence[Session]
) -> list[tuple[Session, Disk]]:
    """Return the disks that a guest's I/O can go to: `device`, or the paths of that map. Pure.

    A link that leads nowhere any more leaves the disks of the LUN's address.
    """
    disks = [(session, disk) for session in sessions for disk in session.disks]
    found = [(session, disk) for session, disk in disks if device in (disk.name, disk.map)]
    if not found:
        there = candidates(request, tuple(sessions))
        found = [(s, disk) for s in there if (disk := find_disk(s, request.lun))]
    return found


def _as_wanted(record: Record, mapped: bool) -> bool:
    return record.guest and not (mapped and record.unmappable)


def _refuse_holders(
    request: Request, session: Session, sessions: tuple[Session, ...], mapped: bool
) -> None:
    current = next((each for each in sessions if each.sid == session.sid), None)
    disk = current and find_disk(current, request.lun)
    if not (disk and disk.holders):
        return
    above = sysfs.multipath_map(disk)
    if above and mapped:
        return
    if above and request.pinned:
        raise errors.Refused(
            f"{request}: multipath has {disk.node} in {above.node}; name the disk "
            f"{request.pinned.link} (its volume in /etc/kvmlun should list all portals)"
        )
    raise errors.Refused(
        f"{request}: {', '.join(disk.holders)} on this host holds {disk.node}; "
        "free it first (lsblk shows what it is)"
    )


def _check_link(request: Request, device: Disk | Map) -> None:
    if os.path.realpath(request.link) == device.node:
        return
    if not os.path.lexists(request.link):
        raise errors.Refused(
            f"{request}: {device.node} is the right disk, but udev made no link {request.link}; "
            f"use one of those that udevadm info {device.node} shows"
        )
    raise errors.Refused(
        f"{request}: {request.link} leads to {os.path.realpath(request.link)}, not {device.node}"
    )
