"""Multipath maps of LUNs with several portals: made with multipathd, removed before their paths.

Paths are kept from multipath's own rules (udev's ``nompath``) and given to multipathd by command
when they are proven, whatever find_multipaths says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from . import commands, errors, sysfs
from .links import BY_PATH
from .lun import Wwid
from .markers import Markers
from .request import Request
from .sysfs import Disk, Map, Session
from .wait import Deadline, turn
from .worker import Workers

log = logging.getLogger("kvmlun.maps")

_SECONDS = 10


class Maps:
    """Makes and removes them, one at a time. All methods raise errors.Error."""

    def __init__(self, markers: Markers, workers: Workers) -> None:
        self._markers = markers
        self._workers = workers
        self._lock = asyncio.Lock()

    async def wanted(self, request: Request, deadline: Deadline) -> bool:
        """Tell whether a LUN is used by a map: several portals, a by-id link, a multipathd."""
        if len(request.lun.portals) < 2 or request.link.startswith(BY_PATH):
            return False
        if not (request.pinned and request.pinned.map_uuid):
            return False
        # Not asked of multipathd: its socket would start one that was stopped.
        active = ["systemctl", "is-active", "--quiet", "multipathd.service"]
        return (await commands.run(active, deadline.left)).code == 0

    def expect(self, wwid: Wwid) -> None:
        """Mark a LUN's map before its paths are there, since each of them may have it made.

        One that is there already and is not marked is somebody else's: it is used and stays.
        """
        uuid = _uuid(wwid)
        if uuid not in self._markers.maps:
            there = any(found.uuid == uuid for found in sysfs.maps())
            self._markers.put_map(uuid, made=not there)

    async def have(self, name: str, wwid: Wwid, disks: Sequence[Disk], deadline: Deadline) -> Map:
        """Have these disks of one LUN in its map; `name` is what an error begins with."""
        async with turn(self._lock, f"{name}: another change of a multipath map", deadline):
            self.expect(wwid)
            above = _above(disks)
            refused = errors.Refused(
                f"{name}: multipathd makes no map of {wwid}; is it blacklisted in "
                "/etc/multipath.conf? (multipath -v3 tells)"
            )
            if above is None:
                # find_multipaths is strict by default: only a WWID that is listed gets a map.
                try:
                    await _multipath(deadline, "multipath", "-a", disks[0].node)
                except errors.Timeout:
                    raise
                except errors.Storage as told:
                    log.warning("%s", told)
                    raise refused from told
            for disk in disks:
                if above is None or disk.name not in above.paths:
                    await _multipath(deadline, "multipathd", "add", "path", disk.name)
                    above = _above(disks)
            if above is None:
                raise refused
            if above.uuid != _uuid(wwid):
                raise errors.Refused(
                    f"{name}: multipath has {disks[0].node} in the map of another LUN, "
                    f"{above.alias}; remove that map (multipath -f {above.alias})"
                )
            return above

    async def free(self, disk: Disk, needed: Callable[[], bool], deadline: Deadline) -> None:
        """Take a disk out of multipath, with its map if that is ours.

        Raises errors.Refused where somebody uses the map or `needed` says that somebody will.
        """
        async with turn(self._lock, "another change of a multipath map", deadline):
            above = sysfs.multipath_map(disk)
            if above is None:
                return
            if self._markers.made(above.uuid):
                await self._remove(above, needed, deadline)
            elif len(above.paths) > 1:
                await _multipath(deadline, "multipathd", "del", "path", disk.name)
            else:
                raise errors.Refused(f"{disk.node} is all that the map {above.node} has")

    async def drop_path(self, disk: Disk) -> None:
        """Take one path out of a map that others have open."""
        async with turn(self._lock, "another change of a multipath map", Deadline(_SECONDS)):
            await _multipath(Deadline(_SECONDS), "multipathd", "del", "path", disk.name)

    async def _remove(self, above: Map, needed: Callable[[], bool], deadline: Deadline) -> None:
        if above.holders:
            raise errors.Refused(f"{above.node} is held by {', '.join(above.holders)}")
        users = await self._workers.call("openers", above.name, timeout=deadline.left)
        if users:
            raise errors.Refused(f"{above.node} is open in {', '.join(users)}")
        up = {disk.name for s in sysfs.sessions() if s.up for disk in s.disks}
        dead = not up & set(above.paths)
        if not dead:
            await self._workers.call("flush", above.name, above.number, timeout=deadline.left)
        if needed():
            raise errors.Refused(f"{above.node} is needed again")
        if dead:
            # With queue_if_no_path what is still in it would never end.
            await _multipath(deadline, "multipathd", "disablequeueing", "map", above.alias)
        try:
            await _multipath(deadline, "multipath", "-f", above.alias)
        except errors.Error:
            if dead:
                await _multipath(deadline, "multipathd", "restorequeueing", "map", above.alias)
            raise
        log.info("removed the map %s", above.node)
        await self._forget(above.uuid)

    async def forget(self, uuid: str, needed: Callable[[], bool]) -> None:
        """Forget a map that is gone, so that multipathd does not make it again."""
        async with turn(self._lock, "another change of a multipath map", Deadline(_SECONDS)):
            if not needed() and all(found.uuid != uuid for found in sysfs.maps()):
                await self._forget(uuid)

    async def _forget(self, uuid: str) -> None:
        if self._markers.made(uuid):
            try:
                await _multipath(Deadline(_SECONDS), "multipath", "-w", uuid.removeprefix("mpath-"))
            except errors.Storage as problem:
                log.warning("%s", problem)
        self._markers.drop_map(uuid)


def lacking(requests: Iterable[Request], sessions: Iterable[Session]) -> list[Request]:
    """Return the requests whose LUN is in a map, by fewer of its portals than there are. Pure.

    A LUN that is used without a map stays so: its VM has the disk itself open.
    """
    sessions = list(sessions)
    found = []
    for request in requests:
        have = [
            session
            for session in sessions
            if session.target == request.lun.address.target and session.up
            if any(disk.map and disk.wwid == str(request.pinned) for disk in session.disks)
        ]
        if have and sysfs.unserved(request.lun.portals, have):
            found.append(request)
    return found


def _above(disks: Sequence[Disk]) -> Map | None:
    return next((found for disk in disks if (found := sysfs.multipath_map(disk))), None)


def _uuid(wwid: Wwid) -> str:
    assert wwid.map_uuid
    return wwid.map_uuid


async def _multipath(deadline: Deadline, *args: str) -> None:
    result = await commands.run(args, min(_SECONDS, deadline.left))
    if result.code != 0 or result.out.strip() == "fail":
        told = errors.one_line(result.err or result.out) or f"exit code {result.code}"
        raise errors.Storage(f"{' '.join(args)}: {told}")
