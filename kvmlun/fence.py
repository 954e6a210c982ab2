"""One writer between hosts: how this host gets the right to write to a fenced LUN.

What a target decides in one command is never checked first and done then. What becomes of the right
while a domain has it is in hold.py, and how it ends in withdraw.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

from . import errors, events, reservation
from .keys import ARRIVING, HOLDER, STARTING, Keys, Record
from .lun import Wwid
from .reach import SECONDS, Reach
from .registrar import Registrar
from .request import Request
from .reservation import Registration, Reservation
from .sysfs import Disk
from .wait import Deadline

log = logging.getLogger("kvmlun.fence")

_POLL_SECONDS = 0.2
_LOSER_SECONDS = 3.0


class Fence:
    """Methods raise errors.Error. `changed` is called when the hold of a domain (its UUID) on a LUN
    has changed."""

    def __init__(self, reach: Reach, records: Keys, changed: Callable[[str], None]) -> None:
        self._reach = reach
        self._keys = records
        self._changed = changed

    async def acquire(self, request: Request, wwid: Wwid, domain: str, deadline: Deadline) -> None:
        """Become the holder for a domain that is to start here, or refuse.

        Raises errors.Refused with the holder's name, or with what the target lacks.
        """
        async with self._reach.turn(str(wwid), deadline):
            registrar = await self._reach.able(request, str(wwid), deadline)
            found = await registrar.status()
            found.check_name(str(request), registrar.host)
            holder, stale = found.holder, found.stale(registrar.host)
            if holder and (holder.key not in stale or not _is_ours(holder)):
                raise reservation.held(str(request), holder, f"kvmlun takeover {domain}")
            record = self._reach.begin(registrar, request, domain, STARTING, stale)
            won = await registrar.take(record, stale)
            if problem := await self._rivals(registrar, request, domain, won):
                await self._reach.give_back(registrar, record)
                raise problem
            self._keys.change(record, phase=HOLDER)
        told = "%s: reserved for %s with key %s"
        about = events.RESERVED(domain=domain, wwid=str(wwid))
        log.info(told, request, domain, record.key_text, extra=about)
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
        async with self._reach.turn(str(wwid), deadline):
            registrar = await self._reach.able(request, str(wwid), deadline)
            _check_source(request, registrar, await registrar.status(), source)

    async def register(
        self, request: Request, wwid: Wwid, domain: str, source: int | None, deadline: Deadline
    ) -> None:
        """Have the right to write beside the source of a migration, which goes on."""
        async with self._reach.turn(str(wwid), deadline):
            registrar = await self._reach.able(request, str(wwid), deadline)
            found = await registrar.status()
            _check_source(request, registrar, found, source)
            stale, rivals = found.stale(registrar.host), found.foreign(registrar.host)
            record = self._reach.begin(registrar, request, domain, ARRIVING, stale, rivals)
            await registrar.register(record, stale)
        told = ", ".join(each.text for each in rivals) or "nobody"
        log.info("%s: registered with key %s beside %s", request, record.key_text, told)
        self._changed(request.domain)

    async def renew(self, record: Record) -> None:
        """Register once more for a domain that is still to arrive, if its source is the holder.

        The target may have lost all registrations, of which the source has its own again.
        """
        async with self._reach.turn(record.wwid, Deadline(SECONDS)):
            if self._keys.get(record.wwid) != record or not self._reach.up(record.request):
                return
            registrar = self._reach.lun(record.request, record.wwid, Deadline(SECONDS))
            found = await registrar.status()
            if found.holder and found.holder.key in record.rivals and not found.has(record.key):
                await registrar.register(record, found.stale(registrar.host))
                log.warning("%s: registered again for %s", record.wwid, record.name)

    async def admit(self, request: Request, disks: Sequence[Disk], deadline: Deadline) -> None:
        """Register more paths of a LUN before they are used, if its domain may write."""
        wwid = request.pinned
        if wwid is None or not self._keys.get(str(wwid)):
            return
        async with self._reach.turn(str(wwid), deadline):
            record = self._keys.get(str(wwid))
            new = [disk for disk in disks if record and disk.hctl not in record.paths]
            if record and new and record.phase in (HOLDER, ARRIVING):
                await self.add_paths(request, record, new, deadline)

    async def add_paths(
        self, request: Request, record: Record, new: Sequence[Disk], deadline: Deadline
    ) -> None:
        """Register more paths; the caller has the turn.

        Who was preempted meanwhile must not come back by a new path: it is checked last.
        """
        registrar = self._reach.paths(request, record.wwid, new, deadline)
        stale = (await registrar.status()).stale(registrar.host, record.key)
        await registrar.register(record, stale)
        found = await registrar.status()
        if not (found.held_by(record.key) or (record.phase == ARRIVING and found.holder)):
            await registrar.unregister(record)
            raise errors.Stale(f"{request}: this host does not hold it any more")
        hctls = tuple(dict.fromkeys((*record.paths, *(disk.hctl for disk in new))))
        self._keys.change(record, paths=hctls)

    # for an operator

    async def others(self, request: Request, wwid: Wwid, deadline: Deadline) -> Reservation:
        """Ask the target which other hosts have a LUN that is fenced, or is to be."""
        registrar = await self._reach.able(request, str(wwid), deadline)
        return Reservation((await registrar.status()).foreign(registrar.host))

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
        async with self._reach.turn(str(wwid), deadline):
            registrar = await self._reach.able(request, str(wwid), deadline)
            found = await registrar.status()
            name = registrar.host.initiator.lower()
            # A host whose board was changed has another id now, and its own name.
            mine = sorted({r.key for r in found.registrations if r.initiator.lower() == name})
            others = found.foreign(registrar.host)
            if any(each.key not in rivals for each in others):
                raise errors.Refused(f"{request}: somebody else has it by now; look again")
            record = self._reach.begin(registrar, request, domain, STARTING, mine)
            won = await registrar.take(record, [*(each.key for each in others), *mine])
            if not won or (await registrar.status()).foreign(registrar.host):
                await self._reach.give_back(registrar, record)
                raise errors.Refused(f"{request}: another host was faster; look again")
            self._keys.change(record, phase=HOLDER)
        for other in others:
            log.warning(
                "%s: taken over for %s from %s, which had it since %s",
                request, domain, other.text, reservation.local_time(other.key),
                extra=events.TAKEN_OVER(domain=domain, wwid=str(wwid)),
            )  # fmt: skip
        self._changed(request.domain)
        return others


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
