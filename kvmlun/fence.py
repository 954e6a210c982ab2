"""One writer between hosts: this host's keys and reservations on fenced LUNs.

What a target decides in one command is never checked first and done then. fencing.py says what is
due; here it is done, one step at a time for each LUN.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Protocol

from . import errors, keys, reservation, sysfs
from .attach import opened
from .fencing import Step, due, victim
from .keys import ARRIVING, BEGINNING, HOLDER, LOST, REGAINING, STARTING, Keys, Record
from .lun import Wwid
from .maps import Maps
from .registrar import Registrar
from .request import Request
from .reservation import Capabilities, Host, Registration, Reservation
from .rounds import Rounds, Watched
from .sysfs import Disk, Session
from .wait import Deadline, turn, within
from .worker import Workers

log = logging.getLogger("kvmlun.fence")

_SECONDS = 10.0
_LOOK_SECONDS = 5.0
_POLL_SECONDS = 0.2
_LOSER_SECONDS = 3.0
_LIBVIRT_SECONDS = 3.0
_STEPS = 5  # more than any domain needs to become the holder


_WAITING = (BEGINNING, REGAINING)


class Domains(Protocol):
    """What libvirt has to do or to tell (libvirtconn.py); each raises errors.Storage."""

    async def runs_here(self, uuid: str) -> bool: ...
    async def is_paused(self, uuid: str) -> bool: ...
    async def suspend(self, uuid: str) -> bool: ...
    async def resume(self, uuid: str) -> bool: ...


class Fence:
    """Takes, hands over, gives up and watches them. Methods raise errors.Error.

    `uses` tells whether a record's domain still has that LUN, `may_go_on` whether nothing but a
    reservation keeps a domain (its UUID) suspended; `changed` is called when the hold
    of a domain (its UUID) on a LUN has changed.
    """

    def __init__(
        self,
        workers: Workers,
        maps: Maps,
        records: Keys,
        domains: Domains,
        uses: Callable[[Record], bool],
        may_go_on: Callable[[str], bool],
        changed: Callable[[str], None],
    ) -> None:
        self._workers = workers
        self._maps = maps
        self._keys = records
        self._domains = domains
        self._uses = uses
        self._may_go_on = may_go_on
        self._changed = changed
        self._host_id = functools.cache(keys.host_id)
        self._locks: dict[str, asyncio.Lock] = {}
        self._rounds = Rounds(self._visit)
        self._told: dict[str, str] = {}  # the last complaint about a LUN
        # By WWID; each question is a "reservation conflict" in this host's kernel log.
        self._can: dict[str, Capabilities] = {}
        # LUNs that could not be fenced under their guest, and why.
        self._failed: dict[str, str] = {}

    @property
    def troubles(self) -> tuple[str, ...]:
        """Which domains are suspended or can't write, and why."""
        lost = [f"{r.name} is suspended: {r.why}" for r in self._keys.all if r.phase == LOST]
        waiting = [
            f"{r.name} is suspended until this host holds {r.wwid}"
            for r in self._keys.all
            if r.phase in _WAITING
        ]
        return (*lost, *waiting, *self._told.values())

    def stops(self, uuid: str) -> bool:
        """Tell whether a domain must not go on for now."""
        return any(r.waits or r.phase in (*_WAITING, LOST) for r in self._keys.of(uuid))

    @property
    def unsettled(self) -> frozenset[str]:
        """UUIDs of domains that are to become a holder as soon as they run here."""
        return frozenset(r.uuid for r in self._keys.all if r.phase not in (HOLDER, LOST))

    @property
    def is_uneasy(self) -> bool:
        """Something is to be looked at again soon."""
        return bool(self._rounds.busy or self._told or self.unsettled)

    def doubt_all(self) -> None:
        """What is fenced may have changed."""
        self._failed.clear()
        self._rounds.doubt_all()

    def doubt(self, what: str) -> None:
        """Something happened to a target (its name) or a domain (its UUID)."""
        self._rounds.doubt(what)

    # what hooks ask for

    async def acquire(self, request: Request, wwid: Wwid, domain: str, deadline: Deadline) -> None:
        """Become the holder for a domain that is to start here, or refuse.

        Raises errors.Refused with the holder's name, or with what the target lacks.
        """
        async with self._turn(str(wwid), deadline):
            registrar = await self._way(request, wwid, deadline)
            found = await registrar.status()
            found.check_name(str(request), registrar.host)
            holder, stale = found.holder, found.stale(registrar.host)
            if holder and (holder.key not in stale or not _is_ours(holder)):
                raise reservation.held(str(request), holder, f"kvmlun takeover {domain}")
            record = self._begin(registrar, request, domain, STARTING, stale)
            won = await registrar.take(record, stale)
            if problem := await self._rivals(registrar, request, domain, won):
                await self._give_back(registrar, record)
                raise problem
            self._keys.change(record, phase=HOLDER)
        log.info("%s: reserved for %s with key %s", request, domain, record.key_text)
        self._changed(request.domain)

    async def _rivals(
        self, registrar: Registrar, request: Request, domain: str, won: bool
    ) -> errors.Refused | None:
        """Return why a domain must not start here: who holds its LUN, or may write to it.

        Who lost a start at the same moment is registered for that moment. Who stays runs the
        domain, perhaps: a migration went there, and its kvmlund died before it became the holder.
        """
        patience = Deadline(min(_LOSER_SECONDS, registrar.deadline.left))
        while True:
            found = await registrar.status()
            remedy = f"kvmlun takeover {domain}"
            if not won:
                if found.holder:
                    return reservation.held(str(request), found.holder, remedy)
                return errors.Refused(f"{request}: another host wants it as well; try again")
            foreign = found.foreign(registrar.host)
            if not foreign:
                return None
            if not patience.left:
                return errors.Refused(
                    f"{request}: {foreign[0].text} is registered and may write to it; look for "
                    f"its VM there, or if that host is dead: {remedy}"
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def expect(
        self, request: Request, wwid: Wwid, source: int | None, deadline: Deadline
    ) -> None:
        """Refuse a migration of a LUN that could not be fenced here; nothing is sent.

        `source` is the key of the host that it comes from, None where nobody has told that.
        """
        async with self._turn(str(wwid), deadline):
            registrar = await self._way(request, wwid, deadline)
            _check_source(request, registrar, await registrar.status(), source)

    async def register(
        self, request: Request, wwid: Wwid, domain: str, source: int | None, deadline: Deadline
    ) -> None:
        """Have the right to write beside the source of a migration, which goes on."""
        async with self._turn(str(wwid), deadline):
            registrar = await self._way(request, wwid, deadline)
            found = await registrar.status()
            _check_source(request, registrar, found, source)
            stale, rivals = found.stale(registrar.host), found.foreign(registrar.host)
            record = self._begin(registrar, request, domain, ARRIVING, stale, rivals)
            await registrar.register(record, stale)
        told = ", ".join(each.text for each in rivals) or "nobody"
        log.info("%s: registered with key %s beside %s", request, record.key_text, told)
        self._changed(request.domain)

    async def renew(self, record: Record) -> None:
        """Register once more for a domain that is still to arrive, if its source is the holder.

        The target may have lost all registrations, of which the source has its own again.
        """
        async with self._turn(record.wwid, Deadline(_SECONDS)):
            if self._keys.get(record.wwid) != record or not self._up(record.request):
                return
            registrar = self._reached(record.request, record.wwid, Deadline(_SECONDS))
            found = await registrar.status()
            if found.holder and found.holder.key in record.rivals and not found.has(record.key):
                await registrar.register(record, found.stale(registrar.host))
                log.warning("%s: registered again for %s", record.wwid, record.name)

    async def admit(self, request: Request, disks: Sequence[Disk], deadline: Deadline) -> None:
        """Register more paths of a LUN before they are used, if its domain may write."""
        wwid = request.pinned
        if wwid is None or not self._keys.get(str(wwid)):
            return
        async with self._turn(str(wwid), deadline):
            record = self._keys.get(str(wwid))
            new = [disk for disk in disks if record and disk.hctl not in record.paths]
            if record and new and record.phase in (HOLDER, ARRIVING):
                await self._admit(request, record, new, deadline)

    async def _admit(
        self, request: Request, record: Record, new: Sequence[Disk], deadline: Deadline
    ) -> None:
        """Who was preempted meanwhile must not come back by a new path: it is checked last."""
        registrar = self._of(request, record.wwid, new, deadline)
        stale = (await registrar.status()).stale(registrar.host, record.key)
        await registrar.register(record, stale)
        found = await registrar.status()
        if not (found.held_by(record.key) or (record.phase == ARRIVING and found.holder)):
            await registrar.unregister(record)
            raise errors.Stale(f"{request}: this host does not hold it any more")
        hctls = tuple(dict.fromkeys((*record.paths, *(disk.hctl for disk in new))))
        self._keys.change(record, paths=hctls)

    # what the loop does

    def look(self, domains: Iterable[Watched], period: float) -> None:
        """Begin to see that those that run here hold their LUNs; `period` in seconds."""
        domains = list(domains)
        watched = {str(request) for domain in domains for request in domain.requests}
        for gone in self._told.keys() - watched:
            del self._told[gone]
        unsettled = self.unsettled
        self._rounds.look(domains, lambda d: 0.0 if d.uuid in unsettled else period)

    async def _visit(self, domain: Watched) -> bool:
        well = True
        for request in domain.requests:
            try:
                if request.fenced and request.pinned:
                    await self.hold(domain, request, request.pinned)
            except errors.Error as problem:
                well = False
                self._complain(str(request), f"{domain.name}: its reservation: {problem}")
        unfenced = {str(request.pinned) for request in domain.requests if not request.fenced}
        for record in self._keys.of(domain.uuid):
            if record.wwid in unfenced or not self._uses(record):
                log.warning("%s: %s is no longer fenced", domain.name, record.wwid)
                await self.give_up(record, lambda _: False, 0.0)
                await self._go_on(record)
        return well

    async def hold(self, domain: Watched, request: Request, wwid: Wwid) -> None:
        """Do whatever makes a domain that runs here the holder, or suspend it."""
        async with self._turn(str(wwid), Deadline(_SECONDS)):
            for _ in range(_STEPS):
                registrar = self._reached(request, str(wwid), Deadline(_SECONDS))
                record = self._keys.get(str(wwid))
                if record and record.uuid != domain.uuid:
                    return
                found = await registrar.status()
                step = due(record, found, registrar.host)
                if step is Step.NOTHING:
                    return await self._held(request, record, registrar)
                # What is known of the domain is from a while ago.
                if not await _soon(self._domains.runs_here(domain.uuid)):
                    return
                if step is Step.FOREIGN and found.holder:
                    raise errors.Refused(
                        f"{request}: {found.holder.text} holds it, so the guest can't write to it"
                    )
                if step is Step.LOSE:
                    return await self._lose(domain, request, record, found, registrar)
                log.warning("%s: %s: %s", domain.name, wwid, step.value)
                await self._do(step, domain, request, record, found, registrar)
            raise errors.Storage(f"{request}: it did not become the holder in {_STEPS} steps")

    async def _held(self, request: Request, record: Record | None, registrar: Registrar) -> None:
        assert record
        self._told.pop(str(request), None)
        if record.phase != HOLDER:
            record = self._keys.change(record, phase=HOLDER, rivals=())
            log.info("%s: holds %s with key %s", record.name, record.wwid, record.key_text)
            self._changed(record.uuid)
        if record.waits:
            record = await self._go_on(record)
        new = [disk for disk in registrar.disks if disk.hctl not in record.paths]
        if new:
            await self._admit(request, record, new, registrar.deadline)

    async def _go_on(self, record: Record) -> Record:
        """Let a domain that was suspended for this LUN go on, if nothing else is in its way."""
        others = [r for r in self._keys.of(record.uuid) if r.wwid != record.wwid]
        if any(r.phase in (*_WAITING, LOST) for r in others):
            return record  # the last one of them lets it go on
        waiting = [each for each in (record, *others) if each.waits]
        if waiting and self._may_go_on(record.uuid):
            done = await _soon(self._domains.resume(record.uuid))
            log.warning("%s %s", record.name, "goes on" if done else "stays paused")
        for each in waiting:
            if self._keys.get(each.wwid) == each:
                self._keys.change(each, waits=False)
        return self._keys.get(record.wwid) or record

    async def _do(
        self,
        step: Step,
        domain: Watched,
        request: Request,
        record: Record | None,
        found: Reservation,
        registrar: Registrar,
    ) -> None:
        """Do one step; what came of it shows when the target is asked again."""
        if step is Step.RESERVE and record:
            await registrar.reserve(record)
        elif step is Step.PREEMPT and record:
            await registrar.preempt(record, victim(record, found, registrar.host))
        elif step is Step.REJOIN and record:
            await self._stand_still(record, ARRIVING)
            await registrar.register(record, found.stale(registrar.host, record.key))
        elif step is Step.REGAIN and record:
            await self._stand_still(record, REGAINING)
            await self._regain(record, request, found, registrar)
        else:
            await self._turn_on(domain, request, record, found, registrar)

    async def _turn_on(
        self,
        domain: Watched,
        request: Request,
        record: Record | None,
        found: Reservation,
        registrar: Registrar,
    ) -> None:
        """Begin to fence a LUN under its guest, which goes on unfenced where that fails."""
        if problem := self._failed.get(registrar.wwid):
            raise errors.Storage(problem)
        if record is None:
            await self._ask(registrar)
            registrar.check(request)
            found.check_name(str(request), registrar.host)
            stale = found.stale(registrar.host)
            record = self._begin(registrar, request, domain.name, BEGINNING, stale)
        try:
            await self._stand_still(record, BEGINNING)
            await self._regain(record, request, found, registrar)
        except errors.Error as problem:
            if not isinstance(problem, errors.Timeout):
                # Not again and again: the guest stands still for each try.
                self._failed[registrar.wwid] = f"{problem} (tried again after a reload of kvmlund)"
            await self._turn_back(registrar)
            raise

    async def _turn_back(self, registrar: Registrar) -> None:
        record = self._keys.get(registrar.wwid)
        if record and record.phase == BEGINNING:
            with contextlib.suppress(errors.Error):
                await registrar.unregister(record)
            self._keys.drop(record)
            await self._go_on(record)

    async def _stand_still(self, record: Record, phase: str) -> None:
        """Suspend a domain until it holds its LUN; one that somebody paused stays as it is.

        While nobody is the holder another host may become it, and a guest that runs and is
        registered could write beside that one's.
        """
        if record.phase != phase or not record.waits:
            mine = any(each.waits for each in self._keys.of(record.uuid))
            guarded = not self._may_go_on(record.uuid)
            waits = mine or guarded or not await _soon(self._domains.is_paused(record.uuid))
            # Before it is done, so that a restart of the daemon in between leaves no VM behind.
            self._keys.change(record, phase=phase, waits=waits)
            self._changed(record.uuid)
        await _soon(self._domains.suspend(record.uuid))

    async def _regain(
        self, record: Record, request: Request, found: Reservation, registrar: Registrar
    ) -> None:
        await self._leave_out(request)
        record = self._keys.get(record.wwid) or record
        paths = tuple(disk.hctl for disk in registrar.disks)
        record = self._keys.change(record, paths=paths)
        stale = found.stale(registrar.host, record.key)
        if not found.has(record.key):
            await registrar.register(record, stale)
        if record.phase == REGAINING and (await registrar.status()).changes(record.key):
            return  # lost, as the next look says
        for key in stale:
            await registrar.preempt(record, key)
        await registrar.reserve(record)

    async def _lose(
        self,
        domain: Watched,
        request: Request,
        record: Record | None,
        found: Reservation,
        registrar: Registrar,
    ) -> None:
        """Done again each time: somebody may have resumed the domain."""
        assert record
        try:
            if found.has(record.key):
                await registrar.unregister(record)
        finally:
            await _soon(self._domains.suspend(domain.uuid))
        if record.phase == LOST:
            return
        by = found.holder.text if found.holder else "another host"
        why = (
            f"{request}: {by} has taken it, so what its guest has here is out of date; "
            f"virsh destroy {domain.name} ends what is left of it on this host"
        )
        self._keys.change(record, phase=LOST, why=why, waits=False)
        log.error("%s is suspended: %s", domain.name, why)
        self._changed(record.uuid)

    async def give_up(self, record: Record, needed: Callable[[Record], bool], grace: float) -> None:
        """Take a key off the target, unless it is `needed`.

        While another host is registered, it may be the one that a migration went to: who leaves
        before that has become the holder leaves the LUN unguarded, so it has `grace` seconds.
        """
        patience, problem = Deadline(grace), "no session to it is up"
        while True:
            async with self._turn(record.wwid, Deadline(_SECONDS)):
                if self._keys.get(record.wwid) != record or needed(record):
                    return
                paths = [(session.up, disk) for session in sysfs.sessions()
                         for disk in session.disks if disk.hctl in record.paths]  # fmt: skip
                up = [disk for is_up, disk in paths if is_up]
                try:
                    if up and await self._gone(record, up, not patience.left):
                        return self._changed(record.uuid)
                except errors.Error as error:
                    problem = str(error)
                if not patience.left and not _may_come_back(paths):
                    log.warning("key %s may be left on %s: %s; the next start on this host removes "
                                "it", record.key_text, record.wwid, problem)  # fmt: skip
                    self._keys.drop(record)
                    return self._changed(record.uuid)
                if not patience.left:
                    raise errors.Storage(problem)
            await asyncio.sleep(_POLL_SECONDS)

    async def _gone(self, record: Record, disks: Sequence[Disk], at_once: bool) -> bool:
        """Have a key off the target; False while somebody may still be about to preempt it."""
        registrar = Registrar(self._workers, record.wwid, disks, Host(0, ""), Deadline(_SECONDS))
        found = await registrar.status()
        if found.has(record.key):
            others = found.keys - {record.key}
            if found.held_by(record.key) and others and not at_once:
                return False
            if sum(each.key == record.key for each in found.registrations) > len(disks):
                record = await self._gather(registrar, record)
            await registrar.unregister(record)
            log.info("key %s is off %s", record.key_text, record.wwid)
        self._keys.drop(record)
        return True

    async def _gather(self, registrar: Registrar, record: Record) -> Record:
        """Have no registration but those of the paths that are here.

        A path whose session was logged in anew has left one of the same key, which a preempt would
        take from the others as well; so they get another key first.
        """
        old = record.key
        key = reservation.make_key(Host(old >> 32, ""), old)
        record = self._keys.change(record, key=key)
        await registrar.register(record, [old])
        await registrar.preempt(record, old)
        return record

    # an operator's own

    async def others(self, request: Request, wwid: Wwid, deadline: Deadline) -> Reservation:
        """Ask the target which other hosts have a LUN that is fenced, or is to be."""
        registrar = await self._way(request, wwid, deadline)
        return Reservation((await registrar.status()).foreign(registrar.host))

    async def survey(self, wwid: str, disks: Sequence[Disk]) -> tuple[Reservation, Capabilities]:
        """Ask the target who has a LUN, and what it can do."""
        registrar = Registrar(self._workers, wwid, disks, Host(0, ""), Deadline(_LOOK_SECONDS))
        await self._ask(registrar)
        found = await registrar.status() if registrar.can.reservations else Reservation()
        return found, registrar.can

    async def _ask(self, registrar: Registrar) -> None:
        """Learn what the target can do."""
        registrar.can = self._can.get(registrar.wwid) or await registrar.capabilities()
        if not registrar.can.lacks:
            self._can[registrar.wwid] = registrar.can

    async def take_over(
        self,
        request: Request,
        wwid: Wwid,
        domain: str,
        rivals: Collection[int],
        deadline: Deadline,
    ) -> tuple[Registration, ...]:
        """Become the holder, and shut out the keys in `rivals`; returns whose they were.

        Raises errors.Refused where somebody else is registered by now.
        """
        async with self._turn(str(wwid), deadline):
            registrar = await self._way(request, wwid, deadline)
            found = await registrar.status()
            name = registrar.host.initiator.lower()
            # A host whose board was changed has another id now, and its own name.
            mine = sorted({r.key for r in found.registrations if r.initiator.lower() == name})
            others = found.foreign(registrar.host)
            if any(each.key not in rivals for each in others):
                raise errors.Refused(f"{request}: somebody else has it by now; look again")
            record = self._begin(registrar, request, domain, STARTING, mine)
            won = await registrar.take(record, [*(each.key for each in others), *mine])
            if not won or (await registrar.status()).foreign(registrar.host):
                await self._give_back(registrar, record)
                raise errors.Refused(f"{request}: another host was faster; look again")
            self._keys.change(record, phase=HOLDER)
        for other in others:
            log.warning(
                "%s: taken over for %s from %s, which had it since %s",
                request, domain, other.text, reservation.local_time(other.key),
            )  # fmt: skip
        self._changed(request.domain)
        return others

    # parts

    def _turn(self, wwid: str, deadline: Deadline) -> contextlib.AbstractAsyncContextManager[None]:
        lock = self._locks.setdefault(wwid, asyncio.Lock())
        return turn(lock, f"{wwid}: another change of its reservation", deadline)

    def _begin(
        self,
        registrar: Registrar,
        request: Request,
        domain: str,
        phase: str,
        stale: Iterable[int],
        rivals: Iterable[Registration] = (),
    ) -> Record:
        before = self._keys.get(registrar.wwid)
        key = reservation.make_key(registrar.host, max([*stale, before.key if before else 0]))
        hctls = tuple(disk.hctl for disk in registrar.disks)
        keys_of_rivals = tuple(dict.fromkeys(each.key for each in rivals))
        return self._keys.put(
            Record(
                registrar.wwid,
                request.domain,
                domain,
                key,
                phase,
                rivals=keys_of_rivals,
                paths=hctls,
                aptpl=registrar.can.aptpl,
                link=request.link,
                target=request.lun.address.target,
                lun=request.lun.address.lun,
            )
        )

    async def _give_back(self, registrar: Registrar, record: Record) -> None:
        await registrar.unregister(record)
        self._keys.drop(record)

    async def _way(self, request: Request, wwid: Wwid, deadline: Deadline) -> Registrar:
        """Return the way to a LUN that is to be fenced; raises errors.Refused if it can't be."""
        registrar = self._reached(request, str(wwid), deadline)
        await self._leave_out(request)
        await self._ask(registrar)
        registrar.check(request)
        return registrar

    async def _leave_out(self, request: Request) -> None:
        """Take paths that are down out of a map: they would come back without a key, so they join
        like new ones."""
        for session, disk in self._disks(request):
            if not session.up and disk.map:
                await self._maps.drop_path(disk)

    def _disks(self, request: Request) -> list[tuple[Session, Disk]]:
        device = os.path.basename(os.path.realpath(request.link))
        return opened(request, device, sysfs.sessions())

    def _up(self, request: Request) -> list[Disk]:
        return [disk for session, disk in self._disks(request) if session.up]

    def _reached(self, request: Request, wwid: str, deadline: Deadline) -> Registrar:
        """Return the way to a LUN by all paths that are up."""
        up = self._up(request)
        if not up:
            raise errors.Storage(f"{request}: no session to its target is up")
        return self._of(request, wwid, up, deadline)

    def _of(
        self, request: Request, wwid: str, disks: Sequence[Disk], deadline: Deadline
    ) -> Registrar:
        hctl = disks[0].hctl
        sids = (s.sid for s in sysfs.sessions() if any(disk.hctl == hctl for disk in s.disks))
        if not (initiator := sysfs.initiator(next(sids, 0))):
            raise errors.Storage(f"{request}: {disks[0].node} has just gone")
        host = Host(self._host_id(), initiator)
        return Registrar(self._workers, wwid, disks, host, deadline)

    def _complain(self, about: str, text: str) -> None:
        if self._told.get(about) != text:
            self._told[about] = text
            log.error("%s", text)


async def _soon(call: Awaitable[bool]) -> bool:
    """Await libvirt for a moment only: a hook of the same domain may wait for this one's turn."""
    try:
        return await within(call, _LIBVIRT_SECONDS)
    except TimeoutError:
        raise errors.Timeout("libvirt did not answer; it is asked again soon") from None


def _may_come_back(paths: Iterable[tuple[bool, Disk]]) -> bool:
    """Tell whether a path that is down may still be used again."""
    return any(not up and disk.state != "transport-offline" for up, disk in paths)


def _is_ours(holder: Registration) -> bool:
    return holder.type == reservation.WRITE_EXCLUSIVE_REGISTRANTS_ONLY


def _check_source(
    request: Request, registrar: Registrar, found: Reservation, source: int | None
) -> None:
    """Refuse a migration from a host that does not hold the LUN: it was shut out of it."""
    found.check_name(str(request), registrar.host)
    holder = found.holder
    if holder and not _is_ours(holder):
        raise reservation.held(str(request), holder, "")
    # Also where nobody holds it: who shut the source out has stopped its VM by now.
    if source and not found.held_by(source):
        by = f"{holder.text} holds it" if holder else "nobody holds it"
        raise errors.Refused(
            f"{request}: {by}, and the host that the VM comes from does not "
            f"(key {reservation.key_text(source)}); if it has just come there try again, if it was "
            "shut out there its VM must not go on"
        )
