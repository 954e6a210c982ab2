"""A running domain's hold on its fenced LUNs: looked at, regained, turned on and off, or lost.

fencing.py says what is due; here it is done, one step at a time for each LUN.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from . import errors, events
from .fence import Fence
from .fencing import Step, due, victim
from .keys import ARRIVING, BEGINNING, HOLDER, LOST, REGAINING, WAITING, Keys, Record
from .lun import Wwid
from .reach import SECONDS, Reach
from .registrar import Registrar
from .request import Request
from .reservation import Reservation
from .rounds import Rounds, Watched
from .standstill import Standstill
from .wait import Deadline
from .withdraw import Withdrawal

log = logging.getLogger("kvmlun.hold")

_STEPS = 5  # more than any domain needs to become the holder


@dataclass(frozen=True)
class _Case:
    """A running domain's LUN, this host's record of it, and what its target has just said."""

    domain: Watched
    request: Request
    registrar: Registrar
    found: Reservation
    record: Record | None


class Hold:
    """Methods raise errors.Error.

    `uses` tells whether a record's domain still has that LUN; `changed` is called when the hold of
    a domain (its UUID) on a LUN has changed.
    """

    def __init__(
        self,
        reach: Reach,
        fence: Fence,
        withdrawal: Withdrawal,
        standstill: Standstill,
        records: Keys,
        uses: Callable[[Record], bool],
        changed: Callable[[str], None],
    ) -> None:
        self._reach = reach
        self._fence = fence
        self._withdrawal = withdrawal
        self._keys = records
        self._standstill = standstill
        self._uses = uses
        self._changed = changed
        self._rounds = Rounds(self.visit)
        self._told: dict[str, str] = {}  # the last complaint about a LUN
        # LUNs that could not be fenced under their guest, and why.
        self._failed: dict[str, str] = {}

    @property
    def troubles(self) -> tuple[str, ...]:
        """Which domains are suspended or can't write, and why."""
        lost = [f"{r.name} is suspended: {r.why}" for r in self._keys.all if r.phase == LOST]
        waiting = [
            f"{r.name} is suspended until this host holds {r.wwid}"
            for r in self._keys.all
            if r.phase in WAITING
        ]
        return (*lost, *waiting, *self._told.values())

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

    def look(self, domains: Iterable[Watched], period: float) -> None:
        """Begin to see that those that run here hold their LUNs; `period` in seconds."""
        domains = list(domains)
        watched = {str(request) for domain in domains for request in domain.requests}
        for gone in self._told.keys() - watched:
            del self._told[gone]
        unsettled = self.unsettled
        self._rounds.look(domains, lambda d: 0.0 if d.uuid in unsettled else period)

    async def visit(self, domain: Watched) -> bool:
        """Look after all fenced LUNs of a domain; tell whether all was well."""
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
                told = "%s: %s is no longer fenced"
                about = events.UNFENCED(domain=domain.name, wwid=record.wwid)
                log.warning(told, domain.name, record.wwid, extra=about)
                await self._withdrawal.give_up(record, lambda _: False, 0.0)
                await self._standstill.end(record)
        return well

    async def hold(self, domain: Watched, request: Request, wwid: Wwid) -> None:
        """Do whatever makes a domain that runs here the holder, or suspend it."""
        async with self._reach.turn(str(wwid), Deadline(SECONDS)):
            for _ in range(_STEPS):
                registrar = self._reach.lun(request, str(wwid), Deadline(SECONDS))
                record = self._keys.get(str(wwid))
                if record and record.uuid != domain.uuid:
                    return
                case = _Case(domain, request, registrar, await registrar.status(), record)
                step = due(record, case.found, registrar.host)
                if step is Step.NOTHING:
                    return await self._held(case)
                # What is known of the domain is from a while ago.
                if not await self._standstill.runs_here(domain.uuid):
                    return
                if step is Step.LOSE:
                    return await self._lose(case)
                await self._do(step, case)
            raise errors.Storage(f"{request}: it did not become the holder in {_STEPS} steps")

    async def _do(self, step: Step, case: _Case) -> None:
        """Do one step; what came of it shows when the target is asked again."""
        record, found, registrar = case.record, case.found, case.registrar
        if step is Step.FOREIGN and found.holder:
            raise errors.Refused(
                f"{case.request}: {found.holder.text} holds it, so the guest can't write to it"
            )
        if step in (Step.RESERVE, Step.PREEMPT):
            log.warning("%s: %s: %s", case.domain.name, registrar.wwid, step.value)
        if step is Step.RESERVE and record:
            await registrar.reserve(record)
        elif step is Step.PREEMPT and record:
            await registrar.preempt(record, victim(record, found, registrar.host))
        elif step is Step.REJOIN and record:
            await self._standstill.begin(record, ARRIVING, step.value)
            await registrar.register(record, found.stale(registrar.host, record.key))
        elif step is Step.REGAIN and record:
            await self._standstill.begin(record, REGAINING, step.value)
            await self._regain(record, case)
        else:
            await self._turn_on(case, step.value)

    async def _held(self, case: _Case) -> None:
        record = case.record
        assert record
        self._told.pop(str(case.request), None)
        if record.phase != HOLDER:
            record = self._keys.change(record, phase=HOLDER, rivals=())
            told = f"{record.name}: holds {record.wwid} with key {record.key_text}"
            about = events.ARRIVED(domain=record.name, wwid=record.wwid)
            log.info("%s", told, extra=about)
            self._changed(record.uuid)
        if record.waits:
            record = await self._standstill.end(record)
        new = [disk for disk in case.registrar.disks if disk.hctl not in record.paths]
        if new:
            await self._fence.add_paths(case.request, record, new, case.registrar.deadline)

    async def _turn_on(self, case: _Case, why: str) -> None:
        """Begin to fence a LUN under its guest, which goes on unfenced where that fails."""
        registrar, record = case.registrar, case.record
        if problem := self._failed.get(registrar.wwid):
            raise errors.Storage(problem)
        if record is None:
            await self._reach.ask(registrar)
            registrar.check(case.request)
            case.found.check_name(str(case.request), registrar.host)
            stale = case.found.stale(registrar.host)
            name = case.domain.name
            record = self._reach.begin(registrar, case.request, name, BEGINNING, stale)
        try:
            await self._standstill.begin(record, BEGINNING, why)
            await self._regain(record, case)
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
            await self._standstill.end(record)

    async def _regain(self, record: Record, case: _Case) -> None:
        registrar = case.registrar
        await self._reach.leave_out(case.request)
        record = self._keys.get(record.wwid) or record
        paths = tuple(disk.hctl for disk in registrar.disks)
        record = self._keys.change(record, paths=paths)
        stale = case.found.stale(registrar.host, record.key)
        if not case.found.has(record.key):
            await registrar.register(record, stale)
        if record.phase == REGAINING and (await registrar.status()).changes(record.key):
            return  # lost, as the next look says
        for key in stale:
            await registrar.preempt(record, key)
        await registrar.reserve(record)

    async def _lose(self, case: _Case) -> None:
        """Done again each time: somebody may have resumed the domain."""
        record, name = case.record, case.domain.name
        assert record
        try:
            if case.found.has(record.key):
                await case.registrar.unregister(record)
        finally:
            await self._standstill.suspend(record.uuid)
        if record.phase == LOST:
            return
        by = case.found.holder.text if case.found.holder else "another host"
        why = (
            f"{case.request}: {by} has taken it, so what its guest has here is out of date; "
            f"virsh destroy {name} ends what is left of it on this host"
        )
        self._keys.change(record, phase=LOST, why=why, waits=False)
        log.error(
            "%s is suspended: %s", name, why, extra=events.LOST(domain=name, wwid=record.wwid)
        )
        self._changed(record.uuid)

    def _complain(self, about: str, text: str) -> None:
        if self._told.get(about) != text:
            self._told[about] = text
            log.error("%s", text, extra=events.FENCING_FAILS())
