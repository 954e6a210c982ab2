"""Taking away what nobody needs: each thing once more made sure of, under its target's lock."""

from __future__ import annotations

import logging

from . import events
from .detach import Detacher
from .ledger import Ledger
from .login import Logins
from .maps import Maps
from .markers import Markers
from .reconcile import Action, DropMarker, EndSession, ForgetEntry, ForgetMap, RemoveDisk
from .request import Request
from .sysfs import Disk, Session
from .traces import Traces
from .wait import Deadline
from .world import World

log = logging.getLogger("kvmlun.removal")

# Who logs in to the target meanwhile has it for longer; then it is decided anew.
_LOCK_SECONDS = 2.0


class Removal:
    """All methods raise errors.Error."""

    def __init__(
        self,
        world: World,
        ledger: Ledger,
        markers: Markers,
        maps: Maps,
        logins: Logins,
        detacher: Detacher,
        traces: Traces,
    ) -> None:
        self._world = world
        self._ledger = ledger
        self._markers = markers
        self._maps = maps
        self._logins = logins
        self._detacher = detacher
        self._traces = traces

    async def act(self, action: Action) -> None:
        """Do one action that was decided on."""
        if isinstance(action, DropMarker):
            self._markers.drop(action.id_path)
        elif isinstance(action, ForgetMap):
            await self._maps.forget(action.uuid, lambda: self._world.needs_map(action.uuid))
        elif isinstance(action, ForgetEntry):
            async with self._logins.lock(action.entry.target, Deadline(_LOCK_SECONDS)):
                current = action.entry in self._ledger.entries
                if current and not self._world.needs_target(action.entry.target):
                    await self._detacher.forget(action.entry)
        else:
            with self._traces.ending(action.session.target):
                async with self._logins.lock(action.session.target, Deadline(_LOCK_SECONDS)):
                    await self._remove(action)

    async def _remove(self, action: EndSession | RemoveDisk) -> None:
        sid = action.session.sid
        if isinstance(action, EndSession):
            await self._detacher.end_session(sid, lambda: self._world.needs_session(sid))
        else:
            disk = action.disk
            await self._detacher.remove_disk(sid, disk, lambda: self._world.needs_disk(sid, disk))

    async def purge(
        self, request: Request, session: Session, disk: Disk, deadline: Deadline
    ) -> bool:
        """Remove a disk that is not the LUN it should be, if it is ours and nobody else's."""
        if not self._markers.scanned(session.id_path(disk) or ""):
            return False

        def needed() -> bool:
            return self._world.others_need_disk(request.domain, session, disk)

        if needed():
            return False
        told = "%s: removing the stale device %s"
        log.warning(told, request.link, disk.name, extra=events.STALE_REMOVED())
        async with self._logins.lock(session.target, deadline):
            await self._detacher.remove_disk(session.sid, disk, needed, deadline)
        return True
