"""What the hooks of a domain ask for: its LUNs made ready, proven, or refused.

Nothing here calls libvirt or waits for anything that does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable

from . import errors, events, inventory, ours
from .attach import Attacher
from .config import Settings
from .domains import Domains
from .domxml import Domain
from .drain import Drain
from .handover import Handover
from .leases import Leases, Need, boottime
from .lun import Portal, Wwid
from .ours import Source, Sources
from .request import Request
from .retry import Retry
from .traces import RELEASE, Traces
from .wait import Deadline, Precedence

log = logging.getLogger("kvmlun.hooks")


class Hooks:
    """Methods raise errors.Error to refuse.

    `configured` raises errors.Config while no configuration was ever good; `ended` is called with
    the UUID of a domain whose QEMU is gone, and when (boottime() seconds) its hook has said so;
    `kick` after each change.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        configured: Callable[[], None],
        sources: Sources,
        leases: Leases,
        attacher: Attacher,
        handover: Handover,
        retry: Retry,
        drain: Drain,
        traces: Traces,
        domains: Domains,
        ended: Callable[[str, float], None],
        kick: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._configured = configured
        self._sources = sources
        self._leases = leases
        self._attacher = attacher
        self._handover = handover
        self._retry = retry
        self._drain = drain
        self._traces = traces
        self._domains = domains
        self._ended = ended
        self._kick = kick
        self._precedence = Precedence()

    def limit(self, operation: str) -> float:
        """Return the seconds that a hook operation may take."""
        settings = self._settings()
        return settings.prepare if operation == "prepare" else settings.check

    async def quiet(self, seconds: float) -> None:
        """Wait while a domain is being prepared, for `seconds` at most."""
        await self._precedence.free(seconds)

    async def prepare(self, domain: Domain, began: float, deadline: Deadline) -> None:
        """Make every LUN of a domain ready, under a lease."""
        with self._precedence.held(), self._traced("prepare", domain, boottime() - began):
            try:
                await self._prepare(domain, began, deadline)
            except errors.NoAnswer:
                arriving = self._handover.is_announced(domain, began)
                if self._settings().retry_autostart and not arriving:
                    portals = [p for _, _, lun in self._sources.luns(domain) for p in lun.portals]
                    self._try_again_later(domain, portals)
                raise
            self._retry.drop(domain.uuid)

    def _try_again_later(self, domain: Domain, portals: Iterable[Portal]) -> None:
        try:
            self._retry.put(domain.uuid, domain.name, portals)
        except errors.Storage as problem:
            log.warning("%s will not be tried again: %s", domain.name, problem)

    async def _prepare(self, domain: Domain, began: float, deadline: Deadline) -> None:
        found = self._luns(domain)
        if not found:
            return
        self._drain.refuse()
        for problem in _unsafe(found):
            log.warning("%s: %s", domain.name, problem)
        requests = [ours.request(domain, *each) for each in found]
        needs = [request.need for request in requests]
        self._refuse_conflicts(domain, needs)
        self._leases.take(domain.uuid, domain.name, needs, began)
        try:
            wwids = await _all(self._attacher.attach(request, deadline) for request in requests)
            for need, wwid in zip(needs, wwids, strict=True):
                self._leases.learn(domain.uuid, need, wwid)
            lease = self._leases.get(domain.uuid)
            self._refuse_conflicts(domain, lease.needs if lease else ())
            await self._handover.prepare(domain, requests, wwids, began, deadline)
            told = ", ".join(f"{lun.volume or lun.address} ({wwid})" for (_, _, lun), wwid in
                             zip(found, wwids, strict=True))  # fmt: skip
            seconds = boottime() - began
            log.info("%s: ready after %.1f s: %s", domain.name, seconds, told, extra=events.READY())
        finally:
            self._leases.settle(domain.uuid, began)
            self._kick()

    def requests(self, domain: Domain) -> list[Request]:
        """Return what the disks of a domain that are ours need; raises errors.Error."""
        return [ours.request(domain, *each) for each in self._luns(domain)]

    def new_requests(self, domain: Domain) -> list[Request]:
        """Do the same for LUNs that are to come here."""
        self._drain.refuse()
        return self.requests(domain)

    async def started(self, domain: Domain, asked: bool, deadline: Deadline) -> None:
        """The domain's QEMU is there. Where the hook has `asked`, errors.Error kills it again:
        with fenced LUNs it may have arrived, or not."""
        if asked and self._leases.get(domain.uuid):
            with self._traced("started", domain):
                await self._handover.started(domain, self.requests(domain), deadline)
        self._leases.started(domain.uuid)
        self._kick()

    async def verify(self, domain: Domain, deadline: Deadline) -> None:
        """Prove once more what is there, as the last gate before QEMU opens it."""
        with self._traced("start", domain):
            requests = self.requests(domain)
            await _all(self._attacher.verify(request, deadline) for request in requests)

    def check(self, domain: Domain) -> list[Source]:
        """Refuse what could not be prepared, without changing anything; return its sources."""
        found = self._luns(domain)
        if found:
            self._drain.refuse()
        self._refuse_conflicts(domain, [ours.request(domain, *each).need for each in found])
        return found

    def check_restored(self, domain: Domain) -> None:
        """Refuse as check(); what starts from now on is not the migration that was announced."""
        self.check(domain)
        self._handover.ended(domain.uuid)

    def check_incoming(self, domain: Domain) -> None:
        """Refuse a migration of a domain that could read stale data here."""
        # It runs elsewhere, so it must not be started here whatever failed before.
        self._retry.drop(domain.uuid)
        found = self.check(domain)
        for problem in _unsafe(found):
            raise errors.Refused(problem)
        for disk, link, lun in found:
            told = ours.recorded(link, domain.luns)
            if told and told.fencing and disk.alone and not lun.fencing:
                raise errors.Refused(
                    f"{lun.volume or lun.address} is fenced where {domain.name} runs, and not by "
                    "this host's /etc/kvmlun (fencing: false); make both the same"
                )
        self._handover.announce(domain, (ours.request(domain, *each) for each in found))

    def release(self, domain: Domain, asked: float) -> None:
        """The domain's QEMU is gone (libvirt says so before it lists it as inactive)."""
        targets = {lun.address.target for _, _, lun in self._sources.running(domain)}
        with self._traced(RELEASE, domain, boottime() - asked, targets):
            self._ended(domain.uuid, asked)

    def _traced(
        self, operation: str, domain: Domain, waited: float = 0.0, targets: Iterable[str] = ()
    ) -> contextlib.AbstractContextManager[None]:
        return self._traces.operation(operation, domain.name, domain.uuid, waited, targets)

    def noted(self) -> None:
        """Something has happened to a domain."""
        self._kick()

    def _luns(self, domain: Domain) -> list[Source]:
        self._configured()
        return self._sources.luns(domain)

    def _refuse_conflicts(self, domain: Domain, needs: Iterable[Need]) -> None:
        """One LUN, one disk of one domain, unless every user of it says <shareable/>."""
        needs = list(needs)
        for index, need in enumerate(needs):
            if any(need.same(other) for other in needs[:index]):
                raise errors.Refused(f"two disks of {domain.name} are the same LUN {need.text}")
        for name, other in inventory.other_needs(
            domain.uuid, self._leases.all, self._domains.listing
        ):
            for need in needs:
                if need.same(other) and not (need.shareable and other.shareable):
                    raise errors.Refused(_conflict(need, name, other))


def _conflict(need: Need, name: str, other: Need) -> str:
    if need.target and other.target and need.target != other.target:
        return (
            f"{need.address} and {other.address}, which domain {name} uses on this host, both "
            f"are LUN {need.text}; stop that domain, or if they are not the same disk give one of "
            "them an identity of its own on the array"
        )
    return (
        f"LUN {need.text} is in use by domain {name} on this host; "
        "stop that domain, or mark both disks <shareable/>"
    )


def _unsafe(found: Iterable[Source]) -> list[str]:
    """Say of each disk that can't migrate safely why not."""
    return [
        f"disk {disk.target} ({lun.volume or lun.address}) has cache="
        f"'{disk.cache or 'default'}' and could read stale data after a migration; "
        "set cache='none' in its <driver>"
        for disk, _, lun in found
        if not disk.movable
    ]


async def _all(calls: Iterable[Awaitable[Wwid]]) -> list[Wwid]:
    """Await all side by side; when they all ended, raise the first error if there was one."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    if tasks:
        await asyncio.wait(tasks)
    problems = [error for task in tasks if (error := task.exception())]
    if problems:
        raise problems[0]
    return [task.result() for task in tasks]
