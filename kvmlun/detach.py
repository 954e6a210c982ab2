"""Taking away what nobody uses any more: disk, session, node record, in that order."""

from __future__ import annotations

import logging
from collections.abc import Callable

from . import errors, iscsi, sysfs
from .ledger import Entry, Ledger
from .markers import Markers
from .sysfs import Disk, Session
from .wait import Changes, Deadline
from .worker import Workers

log = logging.getLogger("kvmlun.detach")

# Below this a step that hangs is given up; the next audit tries again.
_SECONDS = 60
_POLL_SECONDS = 0.05


class Detacher:
    """Removes disks and sessions of ours.

    `needed` is asked again right before every step that can't be undone, so
    that a VM that starts meanwhile wins.
    """

    def __init__(
        self,
        ledger: Ledger,
        markers: Markers,
        workers: Workers,
        changes: Changes,
        needed: Callable[[Session, Disk | None], bool],
    ) -> None:
        self._ledger = ledger
        self._markers = markers
        self._workers = workers
        self._changes = changes
        self._needed = needed

    async def end_session(self, sid: int) -> None:
        """Remove every disk of a session, then log out and delete our node record.

        Raises errors.Refused where something still uses it, errors.Storage
        where a step failed; what was done until then stays done.
        """
        deadline = Deadline(_SECONDS)
        session = sysfs.session(sid)
        if session is None:
            return
        for disk in session.disks:
            await self._unused(session, disk, deadline)
        for disk in session.disks:
            await self._delete(session, disk, deadline)
        self._still_free(session, None)
        await iscsi.logout(sid, deadline.left)
        what = f"session {sid} to {session.target}: waiting for its end"
        await self._changes.until(
            lambda: sysfs.session(sid) is None, deadline, what, _POLL_SECONDS
        )
        log.info("logged out of %s at %s", session.target, session.portal)
        entry = session.portal and self._ledger.find(session.target, session.portal)
        if entry:
            await self.forget(entry)

    async def remove_disk(self, session: Session, disk: Disk) -> None:
        """Remove one disk of a session that others use; raises as end_session does."""
        deadline = Deadline(_SECONDS)
        await self._unused(session, disk, deadline)
        await self._delete(session, disk, deadline)

    async def forget(self, entry: Entry) -> None:
        """Delete the node record we made, and then the note that it was ours."""
        if entry.record:
            await iscsi.delete_record(entry.target, entry.portal, _SECONDS)
        self._ledger.forget(entry)

    async def _unused(self, session: Session, disk: Disk, deadline: Deadline) -> None:
        """Raise errors.Refused unless neither the kernel nor a process uses the disk."""
        if disk.holders:
            raise errors.Refused(f"{disk.node} is held by {', '.join(disk.holders)}")
        numbers = [disk.number]
        openers = await self._workers.call("openers", numbers, timeout=deadline.left)
        if openers:
            names = ", ".join(f"{opener['command']} ({opener['pid']})" for opener in openers)
            raise errors.Refused(f"{disk.node} is open in {names}")
        if session.up:
            facts = await self._workers.call("probe", disk.name, disk.number, timeout=deadline.left)
            if facts["claimed"]:
                raise errors.Refused(f"{disk.node} is in use by this host (mount, swap, md or dm)")

    async def _delete(self, session: Session, disk: Disk, deadline: Deadline) -> None:
        if session.up:
            await self._workers.call("flush", disk.name, disk.number, timeout=deadline.left)
        self._still_free(session, disk)
        await self._workers.call("delete", disk.hctl, timeout=deadline.left)
        log.info("removed %s of %s", disk.node, session.target)
        if id_path := session.id_path(disk):
            self._markers.drop(id_path)

    def _still_free(self, session: Session, disk: Disk | None) -> None:
        if self._needed(session, disk):
            raise errors.Refused(f"{session.target} is needed again")
