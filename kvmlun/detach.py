"""Taking away what nobody uses any more: disk, session, node record, in that order."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable

from . import errors, events, iscsi, nodedb, sysfs
from .ledger import Entry, Ledger
from .maps import Maps
from .markers import Markers
from .steps import step
from .sysfs import Disk, Session
from .wait import Changes, Deadline
from .worker import Workers

log = logging.getLogger("kvmlun.detach")

# Below this a step that hangs is given up; the next audit tries again.
_SECONDS = 60
_POLL_SECONDS = 0.05


class Detacher:
    """Removes disks and sessions of ours, if really nobody uses them."""

    def __init__(
        self, ledger: Ledger, markers: Markers, maps: Maps, workers: Workers, changes: Changes
    ) -> None:
        self._ledger = ledger
        self._maps = maps
        self._markers = markers
        self._workers = workers
        self._changes = changes

    async def end_session(self, sid: int, needed: Callable[[], bool]) -> None:
        """Remove every disk of a session, then log out and delete our node record.

        `needed` is asked right before every step that can't be undone, so that
        a VM that starts meanwhile wins. Raises errors.Refused where something
        still uses it, errors.Storage where a step failed; what was done stays done.
        """
        deadline = Deadline(_SECONDS)
        session = sysfs.session(sid)
        if session is None:
            return
        for disk in session.disks:
            disk = await self._free(disk, needed, deadline)
            await self._check_unused(disk, session, deadline)
        for disk in session.disks:
            await self._delete(session, disk, needed, deadline)
        _check_free(session, needed)
        self._ledger.ending(session)
        try:
            with step(f"logout of {session.target} at {session.portal}"):
                await iscsi.logout(sid)
        except errors.Error:
            self._ledger.made(session)
            raise
        what = f"session {sid} to {session.target}: waiting for its end"
        await self._changes.until(lambda: sysfs.session(sid) is None, deadline, what, _POLL_SECONDS)
        told = "logged out of %s at %s"
        log.info(told, session.target, session.portal, extra=events.LOGGED_OUT())
        entry = session.portal and self._ledger.find(session.target, session.portal)
        if entry:
            await self.forget(entry)

    async def remove_disk(
        self, sid: int, disk: Disk, needed: Callable[[], bool], deadline: Deadline | None = None
    ) -> None:
        """Remove one disk of a session that stays; arguments and errors as in end_session."""
        deadline = deadline or Deadline(_SECONDS)
        session = sysfs.session(sid)
        for current in session.disks if session else ():
            if (current.hctl, current.number) == (disk.hctl, disk.number) and session:
                current = await self._free(current, needed, deadline)
                await self._check_unused(current, session, deadline)
                await self._delete(session, current, needed, deadline)
                told = "removed %s of %s, whose session stays"
                log.info(told, current.node, session.target, extra=events.REMOVED())

    async def forget(self, entry: Entry) -> None:
        """Delete the node record if we made it, and then the note that the session was ours.

        Raises errors.Refused while there is a session of it, which it tells to be ours.
        """
        if any(session.key == entry.key for session in sysfs.sessions()):
            raise errors.Refused(f"{entry.target} at {entry.portal} has a session")
        with step(f"the end of the node record of {entry.target} at {entry.portal}"):
            await asyncio.to_thread(nodedb.delete, entry.target, entry.portal)
        self._ledger.forget(entry)

    async def _free(self, disk: Disk, needed: Callable[[], bool], deadline: Deadline) -> Disk:
        """Return the disk without the multipath map that has it as a path."""
        if not sysfs.multipath_map(disk):
            return disk
        await self._maps.free(disk, needed, deadline)
        left = sysfs.multipath_map(disk)
        return dataclasses.replace(
            disk, holders=tuple(n for n in disk.holders if n != disk.map or left)
        )

    async def _check_unused(self, disk: Disk, session: Session, deadline: Deadline) -> None:
        """Raise errors.Refused unless neither the kernel nor a process uses the disk."""
        if disk.holders:
            raise errors.Refused(f"{disk.node} is held by {', '.join(disk.holders)}")
        users = await self._workers.call("openers", disk.name, timeout=deadline.left)
        if users:
            raise errors.Refused(f"{disk.node} is open in {', '.join(users)}")
        if not session.up:
            # Deleting a blocked device sleeps until the kernel's recovery time is over.
            if disk.state != "transport-offline":
                raise errors.Refused(f"{disk.node} is blocked while its session is {session.state}")
            return
        # Not what it is: a disk that does not answer that must go as well.
        if await self._workers.claimed(disk.name, disk.number, deadline.left):
            raise errors.Refused(f"{disk.node} is in use by this host")

    async def _delete(
        self, session: Session, disk: Disk, needed: Callable[[], bool], deadline: Deadline
    ) -> None:
        if session.up:
            await self._workers.call("flush", disk.name, disk.number, timeout=deadline.left)
        _check_free(session, needed)
        await self._workers.call("delete", disk.hctl, timeout=deadline.left)
        log.debug("removed %s of %s", disk.node, session.target)
        # Sessions by two ifaces to one portal bring disks of one path name, and so of one mark.
        if (id_path := session.id_path(disk)) and not _twins(session):
            self._markers.drop(id_path)


def _twins(session: Session) -> bool:
    """Tell whether another session is with the same target at the same address."""
    return any(
        other.sid != session.sid
        and other.target == session.target
        and other.portal and session.portal
        and other.portal.address == session.portal.address
        for other in sysfs.sessions()
    )  # fmt: skip


def _check_free(session: Session, needed: Callable[[], bool]) -> None:
    if needed():
        raise errors.Refused(f"{session.target} is needed again")
