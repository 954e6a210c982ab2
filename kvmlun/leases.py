"""Leases: who needs which LUNs before libvirt shows a running domain that does.

A lease bridges the time from a ``prepare`` hook to the moment when libvirt's
own list tells the same, and lives in /run so that it survives the daemon.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from . import statefile
from .lun import LunAddress, Wwid

FOLDER = Path("/run/kvmlun/leases")
START, CONNECTION, TAKEOVER = "start", "api", "takeover"


def boottime() -> float:
    """Seconds since boot, also while suspended: the clock that hook and daemon share."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Need:
    """A LUN that is needed; `wwid` is "" where only the address is known."""

    target: str
    lun: int
    wwid: str
    shareable: bool

    @property
    def address(self) -> LunAddress:
        return LunAddress(self.target, self.lun)

    @property
    def text(self) -> str:
        return self.wwid or str(self.address)

    def same(self, other: Need) -> bool:
        """Two needs mean one LUN if they share the identity or, lacking one, the address."""
        if self.wwid and other.wwid:
            return self.wwid == other.wwid
        return self.address == other.address


@dataclass(frozen=True)
class Lease:
    """One domain's needs. Times are boottime() seconds.

    `settled` is when its hook ended, None while it runs: only a listing that
    began later than that can tell whether the domain runs. A lease of somebody
    who asked for a LUN without a domain (CONNECTION) lasts until it `expires`,
    for ever if that is None, whatever libvirt lists. So does that of a domain whose LUNs were
    taken over from another host (TAKEOVER), until it starts: `taken_over` of a start that may
    still fail brings that back.
    """

    uuid: str
    name: str
    needs: tuple[Need, ...]
    began: float
    settled: float | None = None
    role: str = START
    expires: float | None = None
    taken_over: bool = False


class Leases:
    """All leases, in memory and in /run. Raises errors.Storage if one can't be written.

    `ended` is called with each one that has ended.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self.ended: Callable[[Lease], None] = lambda _: None
        self._folder = folder
        self._leases: dict[str, Lease] = {}
        for _, lease in statefile.read_all(folder, _lease):
            if lease.role == START and lease.settled is None:
                # Its hook ended, or was refused when its daemon died: libvirt's list decides.
                lease = replace(lease, settled=boottime())
            self._leases[lease.uuid] = lease

    @property
    def all(self) -> tuple[Lease, ...]:
        return tuple(self._leases.values())

    def get(self, uuid: str) -> Lease | None:
        return self._leases.get(uuid)

    def take(self, uuid: str, name: str, needs: Iterable[Need], began: float) -> None:
        before = self._leases.get(uuid)
        taken_over = before is not None and (before.role == TAKEOVER or before.taken_over)
        self._put(Lease(uuid, name, tuple(needs), began, taken_over=taken_over))

    def started(self, uuid: str) -> None:
        """What was taken over for this domain has served it."""
        if (lease := self._leases.get(uuid)) and lease.taken_over:
            self._put(replace(lease, taken_over=False))

    def take_over(self, uuid: str, name: str, needs: Iterable[Need], ttl: int | None) -> None:
        """Take a lease for a domain that is still to be started, for `ttl` seconds or for good."""
        now = boottime()
        expires = now + ttl if ttl else None
        self._put(Lease(uuid, name, tuple(needs), now, None, TAKEOVER, expires))

    def connect(self, uuid: str, name: str, need: Need, ttl: int) -> Lease:
        """Take or renew a lease without a domain for `ttl` seconds, 0 for no end."""
        now = boottime()
        expires = now + ttl if ttl else None
        lease = Lease(uuid, name, (need,), now, None, CONNECTION, expires)
        self._put(lease)
        return lease

    def settle(self, uuid: str, began: float) -> None:
        """Note that the hook of the lease that `began` then has ended; not kept in /run."""
        lease = self._leases.get(uuid)
        if lease and lease.began == began:
            self._leases[uuid] = replace(lease, settled=boottime())

    def learn(self, uuid: str, need: Need, wwid: Wwid) -> None:
        """Note the identity of a LUN that was known by its address only."""
        lease = self._leases.get(uuid)
        if lease and need in lease.needs and need.wwid != str(wwid):
            known = tuple(replace(n, wwid=str(wwid)) if n == need else n for n in lease.needs)
            self._put(replace(lease, needs=known))

    def drop(self, uuid: str, asked: float) -> None:
        """End a lease, unless it began after the end was asked for."""
        lease = self._leases.get(uuid)
        if lease and lease.began <= asked and lease.taken_over:
            # Who was shut out may write again while nobody holds the LUN.
            self.take_over(uuid, lease.name, lease.needs, None)
        elif lease and lease.began <= asked:
            statefile.remove(self._folder / f"{uuid}.json")
            del self._leases[uuid]
            self.ended(lease)

    def _put(self, lease: Lease) -> None:
        statefile.write(self._folder / f"{lease.uuid}.json", asdict(lease))
        self._leases[lease.uuid] = lease


def _lease(value: dict[str, Any]) -> Lease:
    needs = tuple(Need(**statefile.fields(Need, need)) for need in value["needs"])
    return Lease(**{**statefile.fields(Lease, value), "needs": needs})
