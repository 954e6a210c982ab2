"""The daemon's heart: looks at the world, and does what reconcile decides.

Everything here runs in the loop's thread; state changes need no lock.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping

from . import (
    catalog,
    config,
    errors,
    events,
    inventory,
    iscsi,
    maps,
    ours,
    reconcile,
    status,
    sysfs,
)
from .actions import Actions
from .arrivals import Arrivals
from .attach import Attacher
from .config import Config, Settings
from .connections import Connections
from .detach import Detacher
from .drain import Drain
from .explainer import Explainer
from .guard import Guard
from .hooks import Hooks
from .keys import Keys, Record
from .leases import Leases, boottime
from .ledger import Ledger
from .libvirtconn import Libvirt
from .listing import Listing, known
from .login import Logins
from .lun import Lun
from .maps import Maps
from .markers import Markers
from .onewriter import OneWriter
from .ours import Sources
from .reconcile import DropMarker, EndSession, ForgetEntry, ForgetMap, Holds, RemoveDisk
from .repin import Comparison, Repin
from .request import Request
from .retry import Retry
from .rounds import Watched
from .survey import survey
from .sysfs import Disk, Session
from .takeover import Takeovers
from .tally import Tally
from .telling import Telling
from .traces import Traces
from .udev import Udev
from .wait import Changes, Deadline, within
from .watch import Watch
from .worker import Workers

log = logging.getLogger("kvmlun.manager")

# A disk that something has open is looked at again after this time, since a close has no event.
_BUSY_SECONDS = 2.0
# A path that is missing is tried again after this time.
_JOIN_SECONDS = 15.0
_JOIN_PATIENCE = 10.0
# Hints come in bursts, most of them while a hook is waited for: that has the CPU to itself, unless
# hooks follow each other without end.
_SOAK_SECONDS = 0.5
_PATIENCE_SECONDS = 5.0


class Manager:
    """Owns leases, ledger and marks. `libvirt` is set once there is a loop for its events."""

    def __init__(
        self,
        leases: Leases,
        ledger: Ledger,
        markers: Markers,
        arrivals: Arrivals,
        keys: Keys,
        workers: Workers,
    ) -> None:
        self.config = Config(Settings(), {})
        self.config_problem = ""
        self._configured = False
        self.listing: Listing | None = None
        self.libvirt_problem = ""
        self.observers: list[Callable[[], None]] = []
        self.changes = Changes()
        self.drain = Drain()
        self.tally = Tally()
        self.udev = Udev(self.kick)
        self.libvirt = Libvirt(self.kick, lambda uuid: self._turned(uuid))
        self._leases = leases
        self._leases.ended = lambda lease: self.traces.let_go(n.target for n in lease.needs)
        self._ledger = ledger
        self._markers = markers
        self.traces = Traces(self._show)
        self._workers = workers
        self._retry = Retry()
        self._keys = keys
        self._retrying: asyncio.Task[None] | None = None
        self._renewals: set[asyncio.Task[None]] = set()
        self._joining: asyncio.Future[list[None]] | None = None
        self._wake = asyncio.Event()
        self._released: dict[str, float] = {}
        self._idle: dict[reconcile.Action, float] = {}
        self.actions = Actions(
            self._act, self.kick, lambda: self.libvirt_problem, self.traces.last_user
        )
        self._sources = Sources(
            lambda wwid: self.config.by_wwid(wwid),
            lambda address: self.config.by_address(address),
            lambda link: inventory.lun_of_link(link, sysfs.sessions()),
            lambda portal: self.config.allows(portal),
            lambda wwid, told: self.config.fences(wwid, told),
        )
        self._maps = Maps(markers, workers)
        self._detacher = Detacher(ledger, markers, self._maps, workers, self.changes)
        self._logins = Logins(
            lambda: self.config, ledger, self.changes, self._detacher.forget, self.tally
        )
        self._telling = Telling(self.libvirt, lambda: self.config, keys)
        self._writer = OneWriter(
            workers, self._maps, keys, arrivals, leases, self.libvirt, self._uses,
            self._key_needed, lambda uuid: not self.guard.stops(uuid),
            lambda: self.config.settings.grace, self._key_changed, self.kick,
        )  # fmt: skip
        self.handover = self._writer.handover
        self._attacher = Attacher(
            self._logins, self._maps, markers, workers, self.udev, self.changes, self._purge,
            self._writer.fence.admit,
        )  # fmt: skip
        self.hooks = Hooks(
            lambda: self.config.settings, self._require_config, self._sources, leases,
            self._attacher, self.handover, self._retry, self.drain, self.traces,
            lambda: self.listing,
            self._ended, self.kick,
        )  # fmt: skip
        self.guard = Guard(
            workers,
            self._maps,
            self.libvirt,
            lambda uuid: not self._writer.standstill.stops(uuid),
            self._show,
        )
        self._repin = Repin(
            lambda: self.config,
            lambda: self.listing,
            lambda: self.libvirt_problem,
            lambda: self.holds(),
            self.libvirt,
        )
        self._watch = Watch(
            self.guard,
            self._writer.hold,
            lambda: self._running() if self.listing else None,
            self.handover.arrive,
            lambda: self.config.settings.audit,
            self.kick,
            self._show,
            self.tally,
        )
        self.takeovers = Takeovers(
            lambda: self.listing,
            lambda: self.libvirt_problem,
            lambda: self.config.settings.prepare,
            self.hooks.new_requests,
            leases,
            self._attacher,
            self._writer.fence,
            self.kick,
        )
        self.explainer = Explainer(
            lambda: self.listing, lambda: self.libvirt_problem,
            lambda uuid: self.libvirt.guest(uuid, in_turn=True), self._sources, self.hooks,
            self.handover, self._maps, ledger, workers, self.traces, self.reservations,
            lambda: self.config.settings.grace,
        )  # fmt: skip
        self.connections = Connections(
            lambda: self.config, leases, self._attacher, self.drain, self.tally, self.kick
        )

    def kick(self) -> None:
        """Something may have changed: look at everything soon."""
        self.changes.signal()
        self._wake.set()

    def configure(self) -> None:
        """Read /etc/kvmlun; a bad file keeps what was read before. Raises errors.Error.

        Without any configuration that was ever good no VM starts, since what it
        would have pinned is unknown; running ones, and ``status``, go on.
        """
        try:
            self.config = config.load()
            self._configured = True
            config.write_wwids(self.config)
        except errors.Error as error:
            self.config_problem = str(error)
            log.error("%s", error, extra=events.CONFIG_WRONG())
            raise
        self.config_problem = ""
        count = len(self.config.volumes)
        volumes = "volume" if count == 1 else "volumes"
        log.info("%d %s in /etc/kvmlun", count, volumes, extra=events.CONFIG_READ())
        self._watch.configured()
        renewal = asyncio.ensure_future(self._renew(self.config.volumes.values()))
        self._renewals.add(renewal)
        renewal.add_done_callback(self._renewals.discard)
        self.kick()

    def _require_config(self) -> None:
        if not self._configured:
            raise errors.Config(self.config_problem)

    async def _renew(self, luns: Iterable[Lun]) -> None:
        try:
            await self._logins.renew(luns)
        except errors.Error as problem:
            log.warning("node records keep the secret of their login: %s", problem)

    def add_volume(self, name: str, volume: Mapping[str, object]) -> None:
        """Add a volume to /etc/kvmlun and use it. Raises as catalog.add()."""
        catalog.add(name, volume)
        self.configure()

    def remove_volume(self, name: str) -> None:
        """Take a volume out of /etc/kvmlun. Raises as catalog.remove()."""
        holders = self.holds().of_lun(self.config.volume(name))
        known(
            self.listing, self.libvirt_problem,
            lambda why: errors.Refused(f"nobody knows which VM has volume {name}: {why}"),
        )  # fmt: skip
        catalog.remove(name, holders)
        self.configure()

    async def compare_pin(self, what: str) -> Comparison:
        """Tell what is pinned and what is there. Raises as Repin.compare()."""
        return await self._repin.compare(what)

    async def repin(self, what: str, wwid: str) -> Comparison:
        """Pin what is there, and use it. Raises as Repin.repin()."""
        try:
            return await self._repin.repin(what, wwid)
        finally:
            self.configure()

    # domains

    def _ended(self, uuid: str, asked: float) -> None:
        self._drop_lease(uuid, asked)
        self.handover.ended(uuid, asked)
        self._released[uuid] = asked
        if self.listing:
            self.listing = self._without_released(self.listing)
        self.handover.give_up()
        self.kick()

    def _key_needed(self, record: Record) -> bool:
        if self._leases.get(record.uuid) or self.listing is None or self.libvirt_problem:
            return True
        return any(g.uuid == record.uuid and g.active for g in self.listing.guests)

    def _uses(self, record: Record) -> bool:
        return inventory.uses(record.uuid, record.wwid, self.listing, sysfs.sessions())

    def _key_changed(self, uuid: str) -> None:
        self._show()
        self.kick()
        self._telling.key_changed(uuid)

    def _turned(self, uuid: str) -> None:
        if self._keys.of(uuid):
            self.handover.turned(uuid)
            self._watch.turned(uuid)

    def _without_released(self, listing: Listing) -> Listing:
        """Show as off the domains that ended after the listing began."""
        later = {uuid: asked for uuid, asked in self._released.items() if asked > listing.began}
        self._released = later
        return listing.without(later)

    # the loop

    async def run(self) -> None:
        """Reconcile for ever: after every hint, when something falls due, and now and then."""
        await asyncio.gather(self._reconcile_for_ever(), self._watch.run())

    async def _reconcile_for_ever(self) -> None:
        while True:
            self._wake.clear()
            with self.actions.look(), self.tally.reconcile():
                pause = await self._reconcile()
            self._show()
            try:
                await within(self._wake.wait(), pause)
            except TimeoutError:
                continue
            await asyncio.sleep(_SOAK_SECONDS)
            await self.hooks.quiet(_PATIENCE_SECONDS)

    def _show(self) -> None:
        for observer in self.observers:
            observer()

    async def _reconcile(self) -> float:
        """Look at everything once, start what is due, return the seconds until the next look."""
        settings = self.config.settings
        expiry = self._expire()
        if not await self._list_domains():
            return _BUSY_SECONDS if self._anything() else settings.audit
        self.handover.give_up()
        self._watch.wake()
        if self.listing:
            await self._telling.all(self.listing)
        now = time.monotonic()
        plan = reconcile.decide(self.view(), self._idle, now, settings.grace)
        self._idle = plan.idle
        self.actions.start(plan, now, settings.grace)
        if self.drain.since is not None:
            # By the time that LUNs come here again they may run elsewhere.
            self._retry.clear()
        elif self._retry.waiting and settings.retry_autostart:
            if self._retrying is None or self._retrying.done():
                self._retrying = asyncio.ensure_future(
                    self._retry.run(iscsi.answers, self.libvirt.start)
                )
        lacking = self.lacking_paths()
        if lacking and (self._joining is None or self._joining.done()):
            self._joining = asyncio.gather(*map(self._join, lacking))
        if plan.actions:
            return _BUSY_SECONDS
        due = plan.next_due(now, settings.grace)
        pauses = (settings.audit, expiry, _JOIN_SECONDS if lacking else math.inf)
        return min(*pauses, due - now if due is not None else math.inf)

    def _running(self) -> list[Watched]:
        """Return the domains whose guests may write here, and what their disks have to be."""
        found: list[Watched] = []
        for guest in self.listing.guests if self.listing else ():
            live = guest.live
            if live and not guest.in_transit:
                requests = tuple(ours.request(live, *each) for each in self._sources.running(live))
                found.append(Watched(guest.uuid, guest.name, requests))
        return found

    def lacking_paths(self) -> list[Request]:
        """Return what running domains use by multipath with fewer paths than there are portals."""
        requests = [request for domain in self._running() for request in domain.requests]
        return maps.lacking(requests, sysfs.sessions())

    async def _join(self, request: Request) -> None:
        """Bring paths that were missing when a domain started, or that were lost for good."""
        try:
            if self.holds().of_lun(request.lun):
                # No VM waits: a path that takes long, on a busy host, is to come all the same.
                await self._attacher.paths(
                    request, Deadline(_JOIN_SECONDS), _JOIN_PATIENCE, (errors.Storage, errors.Stale)
                )
        except errors.Error as problem:
            log.debug("a path is still missing: %s", problem)

    def _expire(self) -> float:
        """End connections whose time is over; return the seconds until the next one is."""
        now, left = boottime(), [math.inf]
        for lease in self._leases.all:
            if lease.expires is not None and lease.expires <= now:
                log.info("%s: its time is over", lease.name, extra=events.TIME_OVER())
                self._drop_lease(lease.uuid, lease.began)
            elif lease.expires is not None:
                left.append(lease.expires - now)
        self.handover.expire()
        return min(left)

    def _anything(self) -> bool:
        return bool(self._ledger.entries or self._markers.all or self._leases.all)

    async def _list_domains(self) -> bool:
        # At the source of a migration a domain is in the same state, and has been shown before.
        shown = self.listing.shown if self.listing else frozenset()
        arriving = frozenset(lease.uuid for lease in self._leases.all) - shown
        try:
            self.listing = self._without_released(await self.libvirt.listing(arriving))
        except errors.Storage as error:
            if str(error) != self.libvirt_problem:
                told = "%s; nothing is logged out until it answers"
                log.warning(told, error, extra=events.LIBVIRT_SILENT())
            self.libvirt_problem = str(error)
            return False
        self.libvirt_problem = ""
        active = {guest.uuid for guest in self.listing.guests if guest.active}
        for lease in self._leases.all:
            ended = lease.settled is not None and lease.settled < self.listing.began
            if ended and lease.uuid not in active:
                log.debug("%s does not run here; its lease ends", lease.name)
                self._drop_lease(lease.uuid, lease.began)
        return True

    def _drop_lease(self, uuid: str, asked: float) -> None:
        try:
            self._leases.drop(uuid, asked)
        except errors.Storage as error:
            log.warning("lease of %s: %s", uuid, error)

    async def _act(self, action: reconcile.Action) -> None:
        """Do one action; what fails with errors.Error is tried again later."""
        if isinstance(action, DropMarker):
            self._markers.drop(action.id_path)
        elif isinstance(action, ForgetMap):
            await self._maps.forget(action.uuid, lambda: self._map_needed(action.uuid))
        elif isinstance(action, ForgetEntry):
            async with self._logins.lock(action.entry.target, Deadline(_BUSY_SECONDS)):
                current = action.entry in self._ledger.entries
                if current and not self._target_needed(action.entry.target):
                    await self._detacher.forget(action.entry)
        else:
            with self.traces.ending(action.session.target):
                async with self._logins.lock(action.session.target, Deadline(_BUSY_SECONDS)):
                    await self._remove(action)

    async def _remove(self, action: EndSession | RemoveDisk) -> None:
        sid = action.session.sid
        if isinstance(action, EndSession):
            await self._detacher.end_session(sid, lambda: self._session_needed(sid))
        else:
            disk = action.disk
            await self._detacher.remove_disk(sid, disk, lambda: self._disk_needed(sid, disk))

    async def _purge(
        self, request: Request, session: Session, disk: Disk, deadline: Deadline
    ) -> bool:
        """Remove a disk that is not the LUN it should be, if it is ours and nobody else's."""
        if not self._markers.scanned(session.id_path(disk) or ""):
            return False

        def needed() -> bool:
            others = [lease for lease in self._leases.all if lease.uuid != request.domain]
            held = inventory.holds(others, self.listing, ()).of_disk(session, disk)
            return self.listing is None or bool(held)

        if needed():
            return False
        told = "%s: removing the stale device %s"
        log.warning(told, request.link, disk.name, extra=events.STALE_REMOVED())
        async with self._logins.lock(session.target, deadline):
            await self._detacher.remove_disk(session.sid, disk, needed, deadline)
        return True

    # the world

    @property
    def fencing_problems(self) -> tuple[str, ...]:
        return self._writer.hold.troubles

    async def reservations(self) -> list[status.ReservationStatus]:
        """Ask the targets of the LUNs that are here who holds them."""
        view = self.view()
        return await survey(
            self._writer.reach,
            status.luns(view, self.config),
            view.sessions,
            self._keys.get,
            lambda wwid: self.config.fences(wwid, None),
        )

    def holds(self) -> Holds:
        return inventory.holds(
            self._leases.all, self.listing, self._logins.logging_in, self._keys.all
        )

    def holders(self) -> list[str]:
        """Return who needs LUNs here; raises errors.Storage before libvirt has told who runs."""
        listing = known(
            self.listing, self.libvirt_problem,
            lambda why: errors.Storage(f"nobody knows which VMs run here: {why}"), old=True,
        )  # fmt: skip
        holds = inventory.holds(self._leases.all, listing, (), self._keys.all)
        return status.holders(dataclasses.replace(self.view(), holds=holds), self.config)

    def view(self) -> reconcile.View:
        sessions = sysfs.sessions()
        return reconcile.View(
            sessions=sessions,
            owned=frozenset(s.sid for s in sessions if self._ledger.owns(s)),
            entries=self._ledger.entries,
            markers={path: self._markers.scanned(path) for path in self._markers.all},
            holds=self.holds(),
            lost_maps=self._markers.maps - {found.uuid for found in sysfs.maps()},
            exchanged=self.guard.exchanged,
            fenced={record.wwid: record.phase for record in self._keys.all},
        )

    def _session_needed(self, sid: int) -> bool:
        session = sysfs.session(sid)
        return session is not None and bool(self.holds().of_session(session))

    def _disk_needed(self, sid: int, disk: Disk) -> bool:
        session = sysfs.session(sid)
        return session is not None and bool(self.holds().of_disk(session, disk))

    def _map_needed(self, uuid: str) -> bool:
        return reconcile.map_needed(self.holds(), uuid)

    def _target_needed(self, target: str) -> bool:
        return bool(self.holds().of_target(target))
