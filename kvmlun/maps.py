"""Multipath maps of LUNs with several portals: made with multipathd, removed before their paths.

Paths are kept from multipath's own rules (udev's ``nompath``), and each is given to multipathd by
command once it is proven: so a map never has a path that is another LUN, and multipathd's
find_multipaths makes no difference.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from . import commands, errors, sysfs
from .links import BY_PATH
from .lun import Wwid
from .markers import Markers
from .request import Request
from .sysfs import Disk, Map
from .wait import Deadline
from .worker import Workers

log = logging.getLogger("kvmlun.maps")

_SECONDS = 10


class Maps:
    """All methods raise errors.Error."""

    def __init__(self, markers: Markers, workers: Workers) -> None:
        self._markers = markers
        self._workers = workers

    async def wanted(self, request: Request) -> bool:
        """Tell whether a LUN is used by a map: several portals, a by-id link, a multipathd."""
        if len(request.lun.portals) < 2 or request.link.startswith(BY_PATH):
            return False
        if not (request.pinned and request.pinned.map_uuid):
            return False
        return await _runs()

    async def have(self, name: str, wwid: Wwid, disks: Sequence[Disk], deadline: Deadline) -> Map:
        """Have these disks of one LUN in its map; `name` is what an error begins with."""
        uuid = wwid.map_uuid
        assert uuid
        if uuid not in self._markers.maps:
            # The rule for maps has to know it in its very first event.
            self._markers.put_map(uuid)
        above = next((m for disk in disks if (m := sysfs.multipath_map(disk))), None)
        if above is None:
            # find_multipaths is strict by default: only a WWID that is listed gets a map.
            await _multipath(deadline, "multipath", "-a", disks[0].node)
        for disk in disks:
            if above is None or disk.name not in above.paths:
                await _multipath(deadline, "multipathd", "add", "path", disk.name)
                above = sysfs.multipath_map(disk) or above
        if above is None or above.uuid != uuid:
            raise errors.Refused(
                f"{name}: multipathd makes no map of {wwid}; is it blacklisted in "
                "/etc/multipath.conf? (multipath -v3 tells)"
            )
        return above

    async def remove(self, above: Map, needed: Callable[[], bool], deadline: Deadline) -> None:
        """Remove a map of ours that nobody uses; raises errors.Refused where somebody does."""
        if above.uuid not in self._markers.maps:
            raise errors.Refused(f"{above.node} is a multipath map that kvmlun did not make")
        if above.holders:
            raise errors.Refused(f"{above.node} is held by {', '.join(above.holders)}")
        users = await self._workers.call("openers", above.name, timeout=deadline.left)
        if users:
            raise errors.Refused(f"{above.node} is open in {', '.join(users)}")
        up = {disk.name for s in sysfs.sessions() if s.up for disk in s.disks}
        wwid = above.uuid.removeprefix("mpath-")
        if up & set(above.paths):
            await self._workers.call("flush", above.name, above.number, timeout=deadline.left)
        else:
            # With queue_if_no_path what is still in it would never end.
            await _multipath(deadline, "multipathd", "disablequeueing", "map", wwid)
        if needed():
            raise errors.Refused(f"{above.node} is needed again")
        await _multipath(deadline, "multipath", "-f", wwid)
        log.info("removed the map %s", above.node)
        await self.forget(above.uuid)

    async def forget(self, uuid: str) -> None:
        """Forget a map that is gone, so that multipathd does not make it again."""
        await _multipath(Deadline(_SECONDS), "multipath", "-w", uuid.removeprefix("mpath-"))
        self._markers.drop_map(uuid)


async def _runs() -> bool:
    try:
        return (await commands.run(["multipathd", "show", "daemon"], _SECONDS)).code == 0
    except errors.Storage:
        return False


async def _multipath(deadline: Deadline, *args: str) -> None:
    result = await commands.run(args, min(_SECONDS, deadline.left))
    if result.code != 0 or result.out.strip() == "fail":
        told = errors.one_line(result.err or result.out) or f"exit code {result.code}"
        raise errors.Storage(f"{' '.join(args)}: {told}")
