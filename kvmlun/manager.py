"""The daemon's heart: looks at the world, and does what reconcile decides.

Everything here runs in the loop's thread; state changes need no lock.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping

from . import catalog, errors, events, inventory, iscsi, maps, ours, reconcile, status, sysfs
from .actions import Actions
from .arrivals import Arrivals
from .attach import Attacher
from .config import Config
from .configuration import Configuration
from .connections import Connections
from .detach import Detacher
from .domains import Domains
from .drain import Drain
from .explainer import Explainer
from .guard import Guard
from .hooks import Hooks
from .keys import Keys
from .leases import Leases, boottime
from .ledger import Ledger
from .libvirtconn import Libvirt
from .login import Logins
from .lun import Lun
from .maps import Maps
from .markers import Markers
from .onewriter import OneWriter
from .ours import Sources
from .removal import Removal
from .repin import Comparison, Repin
from .request import Request
from .retry import Retry
from .rounds import Watched
from .survey import survey
from .takeover import Takeovers
from .tally import Tally
from .telling import Telling
from .traces import Traces
from .udev import Udev
from .wait import Changes, Deadline, within
from .watch import Watch
from .worker import Workers
from .world import World

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
    """Puts the parts together, and keeps the loop that has everything looked at."""

    def __init__(
        self,
        leases: Leases,
        ledger: Ledger,
        markers: Markers,
        arrivals: Arrivals,
        keys: Keys,
        workers: Workers,
    ) -> None:
        self.observers: list[Callable[[], None]] = []
        self.changes = Changes()
        self.drain = Drain()
        self.tally = Tally()
        self.traces = Traces(self._show)
        self.udev = Udev(self.kick)
        self.libvirt = Libvirt(self.kick, lambda uuid: self._turned(uuid))
        self.configuration = Configuration(self._configured)
        self.domains = Domains(self.libvirt.listing)
        self._leases = leases
        self._leases.ended = lambda lease: self.traces.let_go(n.target for n in lease.needs)
        self._retry = Retry()
        self._keys = keys
        self._retrying: asyncio.Task[None] | None = None
        self._renewals: set[asyncio.Task[None]] = set()
        self._joining: asyncio.Future[list[None]] | None = None
        self._wake = asyncio.Event()
        self._idle: dict[reconcile.Action, float] = {}
        self._sources = Sources(
            lambda wwid: self.config.by_wwid(wwid),
            lambda address: self.config.by_address(address),
            lambda link: inventory.lun_of_link(link, sysfs.sessions()),
            lambda portal: self.config.allows(portal),
            lambda wwid, told: self.config.fences(wwid, told),
        )
        self._maps = Maps(markers, workers)
        detacher = Detacher(ledger, markers, self._maps, workers, self.changes)
        self._logins = Logins(
            lambda: self.config, ledger, self.changes, detacher.forget, self.tally
        )
        self.world = World(
            self.domains, leases, ledger, markers, keys, lambda: self._logins.logging_in,
            lambda: self.guard.exchanged,
        )  # fmt: skip
        removal = Removal(
            self.world, ledger, markers, self._maps, self._logins, detacher, self.traces
        )
        self.actions = Actions(
            removal.act, self.kick, lambda: self.domains.problem, self.traces.last_user
        )
        self._telling = Telling(self.libvirt, lambda: self.config, keys)
        self._writer = OneWriter(
            workers, self._maps, keys, arrivals, leases, self.libvirt, self.world.uses,
            self.world.needs_key, lambda uuid: not self.guard.stops(uuid),
            lambda: self.config.settings.grace, self._key_changed, self.kick,
        )  # fmt: skip
        self.handover = self._writer.handover
        self._attacher = Attacher(
            self._logins, self._maps, markers, workers, self.udev, self.changes, removal.purge,
            self._writer.fence.admit,
        )  # fmt: skip
        self.hooks = Hooks(
            lambda: self.config.settings, self.configuration.require, self._sources, leases,
            self._attacher, self.handover, self._retry, self.drain, self.traces, self.domains,
            self._ended, self.kick,
        )  # fmt: skip
        self.guard = Guard(
            workers, self._maps, self.libvirt,
            lambda uuid: not self._writer.standstill.stops(uuid), self._show,
        )  # fmt: skip
        self._repin = Repin(lambda: self.config, self.domains, self.world.holds, self.libvirt)
        self._watch = Watch(
            self.guard, self._writer.hold,
            lambda: self._running() if self.domains.listing else None, self.handover.arrive,
            lambda: self.config.settings.audit, self.kick, self._show, self.tally,
        )  # fmt: skip
        self.takeovers = Takeovers(
            self.domains, lambda: self.config.settings.prepare, self.hooks.new_requests, leases,
            self._attacher, self._writer.fence, self.kick,
        )  # fmt: skip
        self.explainer = Explainer(
            self.domains, lambda uuid: self.libvirt.guest(uuid, in_turn=True), self._sources,
            self.hooks, self.handover, self._maps, ledger, workers, self.traces,
            self.reservations, lambda: self.config.settings.grace,
        )  # fmt: skip
        self.connections = Connections(
            lambda: self.config, leases, self._attacher, self.drain, self.tally, self.kick
        )

    def kick(self) -> None:
        """Something may have changed: look at everything soon."""
        self.changes.signal()
        self._wake.set()

    @property
    def config(self) -> Config:
        return self.configuration.current

    def _configured(self) -> None:
        self._watch.configured()
        renewal = asyncio.ensure_future(self._renew(self.config.volumes.values()))
        self._renewals.add(renewal)
        renewal.add_done_callback(self._renewals.discard)
        self.kick()

    async def _renew(self, luns: Iterable[Lun]) -> None:
        try:
            await self._logins.renew(luns)
        except errors.Error as problem:
            log.warning("node records keep the secret of their login: %s", problem)

    def add_volume(self, name: str, volume: Mapping[str, object]) -> None:
        """Add a volume to /etc/kvmlun and use it. Raises as catalog.add()."""
        catalog.add(name, volume)
        self.configuration.read()

    def remove_volume(self, name: str) -> None:
        """Take a volume out of /etc/kvmlun. Raises as catalog.remove()."""
        holders = self.world.holds().of_lun(self.config.volume(name))
        self.domains.known(
            lambda why: errors.Refused(f"nobody knows which VM has volume {name}: {why}")
        )
        catalog.remove(name, holders)
        self.configuration.read()

    async def compare_pin(self, what: str) -> Comparison:
        """Tell what is pinned and what is there. Raises as Repin.compare()."""
        return await self._repin.compare(what)

    async def repin(self, what: str, wwid: str) -> Comparison:
        """Pin what is there, and use it. Raises as Repin.repin()."""
        try:
            return await self._repin.repin(what, wwid)
        finally:
            self.configuration.read()

    # domains

    def _ended(self, uuid: str, asked: float) -> None:
        self._drop_lease(uuid, asked)
        self.handover.ended(uuid, asked)
        self.domains.ended(uuid, asked)
        self.handover.give_up()
        self.kick()

    def _key_changed(self, uuid: str) -> None:
        self._show()
        self.kick()
        self._telling.key_changed(uuid)

    def _turned(self, uuid: str) -> None:
        if self._keys.of(uuid):
            self.handover.turned(uuid)
            self._watch.turned(uuid)

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
            return _BUSY_SECONDS if self.world.has_ours else settings.audit
        self.handover.give_up()
        self._watch.wake()
        await self._telling.all(self.domains.known(errors.Storage))
        now = time.monotonic()
        plan = reconcile.decide(self.world.view(), self._idle, now, settings.grace)
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
        for guest in self.domains.guests:
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
            if self.world.holds().of_lun(request.lun):
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

    async def _list_domains(self) -> bool:
        if not await self.domains.refresh(lease.uuid for lease in self._leases.all):
            return False
        listing = self.domains.known(errors.Storage)
        active = {guest.uuid for guest in listing.guests if guest.active}
        for lease in self._leases.all:
            ended = lease.settled is not None and lease.settled < listing.began
            if ended and lease.uuid not in active:
                log.debug("%s does not run here; its lease ends", lease.name)
                self._drop_lease(lease.uuid, lease.began)
        return True

    def _drop_lease(self, uuid: str, asked: float) -> None:
        try:
            self._leases.drop(uuid, asked)
        except errors.Storage as error:
            log.warning("lease of %s: %s", uuid, error)

    # what is told

    @property
    def fencing_problems(self) -> tuple[str, ...]:
        return self._writer.hold.troubles

    async def reservations(self) -> list[status.ReservationStatus]:
        """Ask the targets of the LUNs that are here who holds them."""
        view = self.world.view()
        return await survey(
            self._writer.reach,
            status.luns(view, self.config),
            view.sessions,
            self._keys.get,
            lambda wwid: self.config.fences(wwid, None),
        )

    def holders(self) -> list[str]:
        """Return who needs LUNs here. Raises as World.holders()."""
        return self.world.holders(self.config)
