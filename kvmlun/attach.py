"""Making a LUN ready on this host: session, disk, udev's links, and the proof of identity."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from . import errors, iscsi, lun, nodedb, proof, sysfs
from .config import Settings
from .leases import Need
from .ledger import Entry, Ledger
from .links import BY_PATH
from .lun import Lun, Portal, Wwid
from .markers import Markers
from .sysfs import Disk, Session
from .udev import Record, Udev
from .wait import Changes, Deadline, turn, within
from .worker import Workers

log = logging.getLogger("kvmlun.attach")

# How often a state without an event of its own (a session's) is looked at while it is waited for.
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Request:
    """One source link of a domain's disk that has to be ready."""

    lun: Lun
    link: str
    read_only: bool
    shareable: bool
    domain: str  # UUID of who asks

    @property
    def pinned(self) -> Wwid | None:
        return self.lun.wwid or Wwid.from_link(self.link)

    @property
    def need(self) -> Need:
        address = self.lun.address
        return Need(address.target, address.lun, str(self.pinned or ""), self.shareable)

    def __str__(self) -> str:
        return f"volume {self.lun.volume}" if self.lun.volume else self.link


class Attacher:
    """Brings LUNs to this host. All methods raise errors.Error.

    `forget` removes our node record of an entry without a session, and the entry.
    `purge` removes a stale disk that nobody but the asking domain needs, and
    tells whether it did.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        ledger: Ledger,
        markers: Markers,
        workers: Workers,
        udev: Udev,
        changes: Changes,
        forget: Callable[[Entry], Awaitable[None]],
        purge: Callable[[Request, Session, Disk, Deadline], Awaitable[bool]],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._markers = markers
        self._workers = workers
        self._udev = udev
        self._changes = changes
        self._forget = forget
        self._purge = purge
        self._locks: dict[str, asyncio.Lock] = {}
        self._logins: dict[tuple[str, Portal], asyncio.Task[None]] = {}
        self._born = time.monotonic(), time.time()
        self._silent: dict[Portal, float] = {}  # since when (monotonic) a portal does not answer

    def lock(self, target: str, deadline: Deadline) -> AbstractAsyncContextManager[None]:
        """Hold the lock that login and logout of `target` share; raises errors.Timeout."""
        lock = self._locks.setdefault(target, asyncio.Lock())
        return turn(lock, f"another login or logout of {target}", deadline)

    @property
    def logging_in(self) -> frozenset[str]:
        """Targets with a login under way, also one that its hook no longer waits for."""
        under_way = {target for target, _ in self._logins}
        orphans = {entry.target for entry in self._ledger.entries if not entry.sid} - under_way
        if orphans and self._orphans_go_on():
            under_way |= orphans
        return frozenset(under_way)

    def _orphans_go_on(self) -> bool:
        """Tell whether iscsid may still do what a daemon before this one asked for."""
        monotonic, epoch = self._born
        settings = self._settings()
        # iscsid's own limit, and some for iscsiadm.
        limit = settings.login * settings.login_attempts + 20
        if time.monotonic() < monotonic + limit:
            return True
        return any(began <= epoch for began in nodedb.started("iscsiadm"))

    async def attach(self, request: Request, deadline: Deadline) -> Wwid:
        """Make the LUN ready and return its proven WWID."""
        async with self.lock(request.lun.address.target, deadline):
            session = await self._session(request, deadline)
        found = find_disk(session, request.lun)
        session, disk = await self._visible(request, session, found, deadline)
        try:
            return await self._prove(request, session, disk, deadline)
        except errors.Stale as error:
            stale = str(error)
            if found is None or not await self._purged(request, session, disk, stale, deadline):
                raise
        session, disk = await self._visible(request, session, None, deadline)
        return await self._prove(request, session, disk, deadline)

    async def verify(self, request: Request, deadline: Deadline) -> Wwid:
        """Prove again what is there now, bringing nothing."""
        gone = errors.Refused(f"{request}: {request.lun} is gone from this host")
        if not _candidates(request, sysfs.sessions()):
            raise gone
        session = await self._logged_in(request, deadline, "to be back")
        disk = find_disk(session, request.lun)
        if not disk:
            raise gone
        return await self._prove(request, session, disk, deadline)

    async def _purged(
        self, request: Request, session: Session, disk: Disk, stale: str, deadline: Deadline
    ) -> bool:
        try:
            return await self._purge(request, session, disk, deadline)
        except errors.Error as problem:
            raise errors.Stale(f"{stale}; the old device can't be removed: {problem}") from problem

    # session

    async def _session(self, request: Request, deadline: Deadline) -> Session:
        existing = _candidates(request, await self._staying(request, deadline))
        if existing:
            return await self._logged_in(request, deadline, "to be logged in")
        problems: list[errors.Storage] = []
        for portal in request.lun.portals:
            try:
                await self._login(request, portal, deadline)
                return await self._logged_in(request, deadline, f"at {portal} after login")
            except errors.Timeout as error:
                if not problems:
                    raise
                problems.append(error)
                break
            except errors.Storage as error:
                problems.append(error)
        kinds = (errors.NoAnswer, errors.Timeout)
        silent = all(isinstance(problem, kinds) for problem in problems)
        kind = errors.NoAnswer if silent else errors.Storage
        raise kind(f"{request}: {'; '.join(map(str, problems))}")

    async def _staying(self, request: Request, deadline: Deadline) -> tuple[Session, ...]:
        """Return the sessions, once those to the target have ended whose end was asked for."""
        sessions, target = sysfs.sessions(), request.lun.address.target
        ending = [s.sid for s in sessions if s.target == target and self._ledger.is_ending(s)]
        for sid in ending:
            await self._ended(request, sid, deadline)
        return sysfs.sessions() if ending else sessions

    async def _ended(self, request: Request, sid: int, deadline: Deadline) -> None:
        what = f"{request}: the end of session {sid}, which was asked for before,"
        asked = asyncio.ensure_future(iscsi.logout(sid))
        asked.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            await within(asyncio.shield(asked), deadline.left)
        except TimeoutError:
            raise errors.Timeout(f"{what} took too long; does iscsid answer?") from None
        await self._changes.until(lambda: sysfs.session(sid) is None, deadline, what, _POLL_SECONDS)

    async def _logged_in(self, request: Request, deadline: Deadline, state: str) -> Session:
        def up() -> Session | None:
            return _usable(request, sysfs.sessions())

        what = f"{request}: waiting for the session of {request.lun.address.target} {state}"
        return await self._changes.until(up, deadline, what, _POLL_SECONDS)

    async def _login(self, request: Request, portal: Portal, deadline: Deadline) -> None:
        target = request.lun.address.target
        key = target, portal
        if not deadline.left:
            raise errors.Timeout(f"{request}: no time was left to log in to {target} at {portal}")
        if key not in self._logins:
            task = asyncio.ensure_future(self._log_in(target, portal))
            self._logins[key] = task
            task.add_done_callback(lambda _: self._login_done(key))
        try:
            await within(asyncio.shield(self._logins[key]), deadline.left)
        except TimeoutError:
            raise errors.Timeout(
                f"{request}: login to {target} at {portal} took too long"
            ) from None

    def _login_done(self, key: tuple[str, Portal]) -> None:
        task = self._logins.pop(key)
        if not task.cancelled() and (error := task.exception()):
            log.warning("login: %s", error)
        self._changes.signal()

    async def _log_in(self, target: str, portal: Portal) -> None:
        settings = self._settings()
        if time.monotonic() - self._silent.get(portal, -math.inf) < settings.silence:
            await iscsi.probe(target, portal)
        records = nodedb.records(target, portal)
        entry = self._ledger.find(target, portal)
        ours = not records or bool(entry and entry.record)
        self._ledger.intend(target, portal, record=ours)
        try:
            if ours:
                await asyncio.to_thread(nodedb.write, target, portal, settings.node_record())
            await iscsi.login(target, portal)
        except errors.Timeout:
            # The database stayed locked, so nothing was begun and the entry can't go now either.
            raise
        except errors.Storage as error:
            if isinstance(error, errors.NoAnswer):
                self._silent[portal] = time.monotonic()
            entry = self._ledger.find(target, portal)
            if not self._made(target, portal) and entry:
                await self._forget(entry)
            raise
        self._silent.pop(portal, None)
        self._made(target, portal)
        log.info("logged in to %s at %s", target, portal)

    def _made(self, target: str, portal: Portal) -> bool:
        """Note the session that a login has made; tell whether there is one."""
        session = next((s for s in sysfs.sessions() if s.key == (target, portal)), None)
        if session:
            self._ledger.made(session)
        return session is not None

    # disk

    async def _visible(
        self, request: Request, session: Session, disk: Disk | None, deadline: Deadline
    ) -> tuple[Session, Disk]:
        """Have the disk present, marked as a guest's, and known to udev as such."""
        after = 0.0
        if disk is None:
            after = time.clock_gettime(time.CLOCK_MONOTONIC)
            await self._scan(request, session, deadline)
        else:
            await self._refresh(request, session, disk, deadline)

        def ready() -> tuple[Session, Disk] | None:
            record = self._record(request, session)
            # The record is written after the links are made. One from before the scan is that of
            # a disk that had the same name and whose removal udev has not handled yet.
            if not record or not record.guest or record.since < after:
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
            await self._logged_in(request, deadline, "to be back")
            return await self._scan(request, session, deadline)
        raise errors.Refused(
            f"{request}: {address.target} at {session.portal} shows this host no LUN "
            f"{address.lun}; is it mapped to this host's initiator name?"
        )

    async def _refresh(
        self, request: Request, session: Session, disk: Disk, deadline: Deadline
    ) -> None:
        await self._scsi(request, deadline, "rescan", disk.hctl)
        record = self._udev.record(disk.name)
        if record and record.guest:
            return
        id_path = session.id_path(disk) or ""
        if id_path not in self._markers:
            self._markers.put(id_path, scanned=False, wwid=request.pinned)
        await self._scsi(request, deadline, "change", disk.name)

    # proof

    async def _prove(
        self, request: Request, session: Session, disk: Disk, deadline: Deadline
    ) -> Wwid:
        """Contract: what QEMU is about to open is the pinned LUN, whole, writable and unused."""
        with _named(request):
            facts = await self._workers.probe(disk.name, disk.number, deadline.left)
        wwid = proof.identity(str(request), request.pinned, request.lun.address, facts, disk)
        proof.usable(str(request), request.lun, facts, request.read_only, disk)
        if disk.partitions:
            numbers = [int(name.removeprefix(disk.name)) for name in disk.partitions]
            await self._scsi(request, deadline, "drop_partitions", disk.name, disk.number, numbers)
        sessions = sysfs.sessions()
        proof.unique(str(request), wwid, session.target, sessions)
        _refuse_holders(request, session, sessions)
        if os.path.realpath(request.link) != disk.node:
            raise errors.Refused(_misleading(request, disk))
        return wwid

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


def _refuse_holders(request: Request, session: Session, sessions: tuple[Session, ...]) -> None:
    current = next((each for each in sessions if each.sid == session.sid), None)
    disk = current and find_disk(current, request.lun)
    if disk and disk.holders:
        raise errors.Refused(
            f"{request}: {', '.join(disk.holders)} on this host holds {disk.node}; "
            "free it first (lsblk shows what it is)"
        )


def _misleading(request: Request, disk: Disk) -> str:
    if not os.path.lexists(request.link):
        return (
            f"{request}: {disk.node} is the right disk, but udev made no link {request.link}; "
            f"use one of those that udevadm info {disk.node} shows"
        )
    return f"{request}: {request.link} leads to {os.path.realpath(request.link)}, not {disk.node}"


def _candidates(request: Request, sessions: tuple[Session, ...]) -> list[Session]:
    """Sessions that lead to the LUN: the listed portals first, a foreign one only for by-id."""
    wanted = request.lun
    same = [session for session in sessions if session.target == wanted.address.target]
    listed = [session for session in same if session.portal in wanted.portals]
    return listed if listed or request.link.startswith(BY_PATH) else same


def _usable(request: Request, sessions: tuple[Session, ...]) -> Session | None:
    return next((session for session in _candidates(request, sessions) if session.up), None)
