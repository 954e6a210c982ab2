"""LUNs that somebody needs on this host without a domain: connect, renew, disconnect."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from . import errors
from .attach import Attacher
from .config import Config
from .drain import Drain
from .leases import Lease, Leases
from .request import Request
from .tally import Tally
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
        drain: Drain,
        tally: Tally,
        changed: Callable[[], None],
    ) -> None:
        self._config = config
        self._leases = leases
        self._attacher = attacher
        self._drain = drain
        self._tally = tally
        self._changed = changed

    async def connect(self, volume: str, owner: str, ttl: int) -> str:
        """Make a volume ready for `owner` for `ttl` seconds, 0 for until the next boot.

        Returns the link to its disk. What is connected already is renewed.
        """
        with self._tally.asking("connect"):
            return await self._connect(volume, owner, ttl)

    async def _connect(self, volume: str, owner: str, ttl: int) -> str:
        lun, (key, name) = self._config().volume(volume), _identity(volume, owner)
        assert lun.wwid
        request = Request(lun, lun.wwid.link, read_only=True, shareable=True, domain=key)
        before = self._leases.get(key)
        if before is None:
            self._drain.refuse()
        lease = self._leases.connect(key, name, request.need, ttl)
        try:
            await self._attacher.attach(request, Deadline(self._config().settings.prepare))
        except BaseException:
            # Another call for the same owner may have renewed it meanwhile.
            if before is None and self._leases.get(key) == lease:
                self._leases.drop(key, lease.began)
            raise
        finally:
            self._changed()
        return request.link

    def renew(self, volume: str, owner: str, ttl: int) -> None:
        """Let a connection last `ttl` seconds from now, 0 for until the next boot."""
        lease = self._lease(volume, owner)
        self._leases.connect(lease.uuid, lease.name, lease.needs[0], ttl)
        self._changed()

    def disconnect(self, volume: str, owner: str) -> None:
        """End a connection; the LUN goes when nobody else needs it."""
        lease = self._lease(volume, owner)
        self._leases.drop(lease.uuid, lease.began)
        self._changed()

    def _lease(self, volume: str, owner: str) -> Lease:
        key, name = _identity(volume, owner)
        lease = self._leases.get(key)
        if lease is None:
            raise errors.Unknown(f"volume {volume} is not {name}; kvmlun status shows what is")
        return lease


def _identity(volume: str, owner: str) -> tuple[str, str]:
    """Return key and name of a lease; the volume may have left the catalog meanwhile."""
    if not 0 < len(owner) <= 64 or not owner.isprintable():
        raise errors.Invalid("an owner is 1 to 64 printable characters")
    key = str(uuid.uuid5(uuid.NAMESPACE_URL, f"kvmlun:{volume}:{owner}"))
    return key, f"connected by {owner}"
