"""LUNs that somebody needs on this host without a domain: connect, renew, disconnect."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from . import errors
from .attach import Attacher, Request
from .config import Config
from .leases import Lease, Leases, boottime
from .lun import Lun
from .wait import Deadline


class Connections:
    """Leases of owners, who are names that callers choose. All methods raise errors.Error.

    `changed` is called after each change.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        leases: Leases,
        attacher: Attacher,
        changed: Callable[[], None],
    ) -> None:
        self._config = config
        self._leases = leases
        self._attacher = attacher
        self._changed = changed

    async def connect(self, volume: str, owner: str, ttl: int) -> str:
        """Make a volume ready for `owner` for `ttl` seconds, 0 for until the next boot.

        Returns the link to its disk. What is connected already is renewed.
        """
        lun, key, name = self._find(volume, owner)
        assert lun.wwid
        request = Request(lun, lun.wwid.link, read_only=True, shareable=True, domain=key)
        fresh = self._leases.get(key) is None
        self._leases.connect(key, name, request.need, ttl)
        try:
            await self._attacher.attach(request, Deadline(self._config().settings.prepare))
        except errors.Error:
            if fresh:
                self._leases.drop(key, boottime())
            raise
        finally:
            self._changed()
        return request.link

    def renew(self, volume: str, owner: str, ttl: int) -> None:
        """Let a connection last `ttl` seconds from now, 0 for until the next boot."""
        _, key, name = self._find(volume, owner)
        self._leases.connect(key, name, self._lease(volume, key, name).needs[0], ttl)
        self._changed()

    def disconnect(self, volume: str, owner: str) -> None:
        """End a connection; the LUN goes when nobody else needs it."""
        _, key, name = self._find(volume, owner)
        self._leases.drop(key, self._lease(volume, key, name).began)
        self._changed()

    def _find(self, volume: str, owner: str) -> tuple[Lun, str, str]:
        if not 0 < len(owner) <= 64 or not owner.isprintable():
            raise errors.Invalid("an owner is 1 to 64 printable characters")
        key = str(uuid.uuid5(uuid.NAMESPACE_URL, f"kvmlun:{volume}:{owner}"))
        return self._config().volume(volume), key, f"connected by {owner}"

    def _lease(self, volume: str, key: str, name: str) -> Lease:
        lease = self._leases.get(key)
        if lease is None:
            raise errors.Unknown(f"volume {volume} is not {name}; kvmlun status shows what is")
        return lease
