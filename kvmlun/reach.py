"""The way to a fenced LUN: its paths, who this host is on them, and one change at a time."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections.abc import Iterable, Sequence

from . import errors, keys, reservation, sysfs
from .attach import opened
from .keys import Keys, Record
from .maps import Maps
from .registrar import Registrar
from .request import Request
from .reservation import Capabilities, Host, Registration
from .sysfs import Disk, Session
from .wait import Deadline, turn
from .worker import Workers

SECONDS = 10.0  # for what is due on a LUN while no hook waits for it


class Reach:
    """Methods raise errors.Error; those that lead to a LUN raise errors.Storage where no session
    to its target is up."""

    def __init__(self, workers: Workers, maps: Maps, records: Keys) -> None:
        self._workers = workers
        self._maps = maps
        self._keys = records
        self._host_id = functools.cache(keys.host_id)
        self._locks: dict[str, asyncio.Lock] = {}
        # By WWID; each question is a "reservation conflict" in this host's kernel log.
        self._can: dict[str, Capabilities] = {}

    def turn(self, wwid: str, deadline: Deadline) -> contextlib.AbstractAsyncContextManager[None]:
        """Wait for the turn to change what this host has on a LUN."""
        lock = self._locks.setdefault(wwid, asyncio.Lock())
        return turn(lock, f"{wwid}: another change of its reservation", deadline)

    def up(self, request: Request) -> list[Disk]:
        return [disk for session, disk in self._disks(request) if session.up]

    def lun(self, request: Request, wwid: str, deadline: Deadline) -> Registrar:
        """Return the way to a LUN by all paths that are up."""
        up = self.up(request)
        if not up:
            raise errors.Storage(f"{request}: no session to its target is up")
        return self.paths(request, wwid, up, deadline)

    def paths(
        self, request: Request, wwid: str, disks: Sequence[Disk], deadline: Deadline
    ) -> Registrar:
        """Return the way to a LUN by some of its paths."""
        hctl = disks[0].hctl
        sids = (s.sid for s in sysfs.sessions() if any(disk.hctl == hctl for disk in s.disks))
        if not (initiator := sysfs.initiator(next(sids, 0))):
            raise errors.Storage(f"{request}: {disks[0].node} has just gone")
        host = Host(self._host_id(), initiator)
        return Registrar(self._workers, wwid, disks, host, deadline)

    def bare(self, wwid: str, disks: Sequence[Disk], deadline: Deadline) -> Registrar:
        """Return the way to a LUN on which it does not matter who this host is."""
        return Registrar(self._workers, wwid, disks, Host(0, ""), deadline)

    async def able(self, request: Request, wwid: str, deadline: Deadline) -> Registrar:
        """Return the way to a LUN that is to be fenced; raises errors.Refused if it can't be."""
        registrar = self.lun(request, wwid, deadline)
        await self.leave_out(request)
        await self.ask(registrar)
        registrar.check(request)
        return registrar

    async def leave_out(self, request: Request) -> None:
        """Take paths that are down out of a map: they would come back without a key, so they join
        like new ones."""
        for session, disk in self._disks(request):
            if not session.up and disk.map:
                await self._maps.drop_path(disk)

    async def ask(self, registrar: Registrar) -> None:
        """Learn what the target can do."""
        registrar.can = self._can.get(registrar.wwid) or await registrar.capabilities()
        if not registrar.can.lacks:
            self._can[registrar.wwid] = registrar.can

    def begin(
        self,
        registrar: Registrar,
        request: Request,
        domain: str,
        phase: str,
        stale: Iterable[int],
        rivals: Iterable[Registration] = (),
    ) -> Record:
        """Record a new key for a domain's use of a LUN, before it is used."""
        before = self._keys.get(registrar.wwid)
        key = reservation.make_key(registrar.host, max([*stale, before.key if before else 0]))
        return self._keys.put(
            Record(
                registrar.wwid,
                request.domain,
                domain,
                key,
                phase,
                rivals=tuple(dict.fromkeys(each.key for each in rivals)),
                paths=tuple(disk.hctl for disk in registrar.disks),
                aptpl=registrar.can.aptpl,
                link=request.link,
                target=request.lun.address.target,
                lun=request.lun.address.lun,
            )
        )

    async def give_back(self, registrar: Registrar, record: Record) -> None:
        """Take a key off by the same way, and forget it."""
        await registrar.unregister(record)
        self._keys.drop(record)

    def _disks(self, request: Request) -> list[tuple[Session, Disk]]:
        device = os.path.basename(os.path.realpath(request.link))
        return opened(request, device, sysfs.sessions())
