"""Taking a VM's LUNs over from a host that is dead: what is shown first, and what is done then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from . import errors
from .attach import Attacher
from .domains import Domains
from .domxml import Domain
from .fence import Fence
from .leases import TAKEOVER, Leases
from .lun import Wwid
from .request import Request
from .reservation import Reservation
from .wait import Deadline

# How long what was brought to be looked at waits for the operator's answer.
_ASK_SECONDS = 300


@dataclass(frozen=True)
class Holding:
    """A fenced LUN of a VM, and which other hosts have it."""

    name: str
    wwid: Wwid
    reservation: Reservation


class Takeovers:
    """All methods raise errors.Error."""

    def __init__(
        self,
        domains: Domains,
        seconds: Callable[[], float],
        requests: Callable[[Domain], list[Request]],
        leases: Leases,
        attacher: Attacher,
        fence: Fence,
        changed: Callable[[], None],
    ) -> None:
        self._domains = domains
        self._seconds = seconds
        self._requests = requests
        self._leases = leases
        self._attacher = attacher
        self._fence = fence
        self._changed = changed

    async def compare(self, vm: str) -> list[Holding]:
        """Bring the fenced LUNs of a VM here, and tell which other hosts have them.

        `vm` is the name or the UUID of a domain that is defined and does not run here.
        """
        domain, deadline = self._domain(vm), Deadline(self._seconds())
        try:
            return [
                Holding(str(request), wwid, await self._fence.others(request, wwid, deadline))
                for request, wwid in await self._bring(domain, deadline)
            ]
        except BaseException:
            self.stop_comparing(domain.uuid)
            raise

    def stop_comparing(self, vm: str) -> None:
        """Let go of what was brought to be looked at for a VM; what was taken over stays."""
        for lease in self._leases.all:
            looked_at = lease.role == TAKEOVER and lease.expires is not None
            if looked_at and vm in (lease.name, lease.uuid):
                self._leases.drop(lease.uuid, lease.began)
        self._changed()

    async def take_over(self, vm: str, rivals: Mapping[str, Sequence[int]]) -> list[str]:
        """Shut out the keys in `rivals`, by WWID, and hold those LUNs for a start of the VM here.

        Returns a line for each. A LUN that somebody else has by now is refused.
        """
        domain, deadline = self._domain(vm), Deadline(self._seconds())
        told = []
        luns = await self._bring(domain, deadline)
        # Without an end: whose key was taken may write again while nobody holds the LUN.
        needs = [request.need for request, _ in luns]
        self._leases.take_over(domain.uuid, domain.name, needs, None)
        for request, wwid in luns:
            shown = rivals.get(str(wwid), ())
            others = await self._fence.take_over(request, wwid, domain.name, shown, deadline)
            told += [f"{request}: taken over from {other.text}" for other in others]
        return told

    def give_up(self, vm: str) -> None:
        """Let go of what was taken over for a VM that is not to be started here after all."""
        lease = self._leases.get(self._domain(vm).uuid)
        if lease is None or lease.role != TAKEOVER:
            raise errors.Unknown(f"nothing was taken over for {vm[:80]} on this host")
        self._leases.drop(lease.uuid, lease.began)
        self._changed()

    async def _bring(self, domain: Domain, deadline: Deadline) -> list[tuple[Request, Wwid]]:
        fenced = [request for request in self._requests(domain) if request.fenced]
        if not fenced:
            raise errors.Refused(
                f"{domain.name} has no fenced LUN (fencing: true in /etc/kvmlun), so no other host "
                "can be shut out of one"
            )
        self._keep(domain, fenced)
        try:
            wwids = await asyncio.gather(*(self._attacher.attach(r, deadline) for r in fenced))
        finally:
            self._changed()
        return sorted(zip(fenced, wwids, strict=True), key=lambda each: each[1])

    def _keep(self, domain: Domain, fenced: Iterable[Request]) -> None:
        """Have the LUNs stay until the operator has answered, or those taken over for good."""
        lease = self._leases.get(domain.uuid)
        if lease is None or lease.expires is not None:
            needs = [request.need for request in fenced]
            self._leases.take_over(domain.uuid, domain.name, needs, _ASK_SECONDS)

    def _domain(self, vm: str) -> Domain:
        listing = self._domains.known(
            lambda why: errors.Refused(f"nobody knows whether {vm[:80]} runs here: {why}")
        )
        for guest in listing.named(vm):
            if guest.active:
                raise errors.Refused(f"{guest.name} is on this host already (virsh list)")
            if guest.persistent:
                return guest.persistent
        raise errors.Unknown(
            f"no domain {vm[:80]!r} is defined on this host; virsh define it here first"
        )
