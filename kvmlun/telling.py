"""Writing each domain's metadata, which tell other hosts what its disks are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from . import errors, metadata, sysfs
from .config import Config
from .keys import HOLDER, Keys
from .leases import boottime
from .libvirtconn import Libvirt
from .listing import Listing

log = logging.getLogger("kvmlun.telling")

# libvirt lets nobody write metadata before the job of a migration has ended, and tells nobody.
_TRIES, _SECONDS = 40, 0.25


class Telling:
    """What can't be written now is logged, and written with a later listing."""

    def __init__(self, libvirt: Libvirt, config: Callable[[], Config], keys: Keys) -> None:
        self._libvirt = libvirt
        self._config = config
        self._keys = keys
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def all(self, listing: Listing) -> None:
        """Write what differs in the definitions of these domains."""
        for write in metadata.wanted(listing, sysfs.sessions(), self._config(), self._keys.all):
            try:
                await self._libvirt.set_metadata(write.uuid, write.live, write.xml)
                log.debug("%s: wrote the %s metadata", write.name, write.where)
            except errors.Storage as error:
                log.warning("%s: cannot write the %s metadata: %s", write.name, write.where, error)

    def key_changed(self, uuid: str) -> None:
        """Have the metadata tell the key of a domain that has arrived before it leaves again."""
        if uuid not in self._tasks and any(r.phase == HOLDER for r in self._keys.of(uuid)):
            task = asyncio.ensure_future(self._tell_key(uuid))
            self._tasks[uuid] = task
            task.add_done_callback(lambda _: self._tasks.pop(uuid))

    async def _tell_key(self, uuid: str) -> None:
        try:
            for _ in range(_TRIES):
                guest = await self._libvirt.guest(uuid)
                if guest is None or not guest.active:
                    return
                if guest.settled:
                    return await self.all(Listing(boottime(), (guest,)))
                await asyncio.sleep(_SECONDS)
        except errors.Storage as problem:
            log.warning("%s: its key is told later: %s", uuid, problem)
