"""The reservation commands to one LUN, by the disks that lead to it, in worker processes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from . import errors, reservation
from .keys import Record
from .request import Request
from .reservation import Capabilities, Host, Reservation
from .sysfs import Disk
from .wait import Deadline
from .worker import Workers


class Registrar:
    """The commands to one LUN by its disks; a reservation is taken by the first of them."""

    def __init__(
        self, workers: Workers, wwid: str, disks: Sequence[Disk], host: Host, deadline: Deadline
    ) -> None:
        self._workers = workers
        self.wwid = wwid
        self.disks = list(disks)
        self.host = host
        self.deadline = deadline
        self.can = Capabilities(True, True, False, True)

    async def capabilities(self) -> Capabilities:
        return Capabilities(*await self._call("pr_capabilities", self.disks[0]))

    def check(self, request: Request) -> None:
        """Raise errors.Refused where the target can't do what fencing needs."""
        if self.can.lacks:
            raise errors.Refused(
                f"{request}: fencing is on, and its target has {self.can.text}; "
                "use another array, or fencing: false"
            )

    async def status(self) -> Reservation:
        return reservation.decode(await self._call("pr_status", self.disks[0]))

    async def register(self, record: Record, stale: Collection[int]) -> None:
        """Register each path from no key, or from what an earlier login on its port has left.

        The last REGISTER, an unregister too, decides for all whether the target keeps
        registrations over a restart (SPC-5, 5.14.6; so does LIO).
        """
        for disk in self.disks:
            for old in (0, *stale, record.key):
                if await self._call("pr_register", disk, old, record.key, record.aptpl):
                    break
            else:
                raise errors.Storage(f"{disk.node}: the target refuses to register this host's key")

    async def unregister(self, record: Record) -> None:
        """Take the key off each path; one that is not registered with it stays as it is."""
        for disk in self.disks:
            await self._call("pr_register", disk, record.key, 0, record.aptpl)

    async def take(self, record: Record, stale: Collection[int]) -> bool:
        """Register everywhere, clear what is stale, and reserve; tell whether this host won."""
        await self.register(record, stale)
        for key in stale:
            await self.preempt(record, key)
        # A holder already, by another path, can't reserve by this one.
        return await self.reserve(record) or (await self.status()).held_by(record.key)

    async def reserve(self, record: Record) -> bool:
        return bool(await self._call("pr_reserve", self.disks[0], record.key))

    async def preempt(self, record: Record, key: int) -> bool:
        return bool(await self._call("pr_preempt", self.disks[0], record.key, key))

    async def _call(self, name: str, disk: Disk, *args: object) -> Any:
        return await self._workers.call(
            name, disk.name, disk.number, self.wwid, *args, timeout=self.deadline.left
        )
