"""This host's domains: what libvirt has listed last, what has ended since, and who may run."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable

from . import errors, events
from .listing import Guest, Listing

log = logging.getLogger("kvmlun.domains")


class Domains:
    """`listing` is None before libvirt has told, `problem` is why it does not answer now.

    `ask` is Libvirt.listing().
    """

    def __init__(self, ask: Callable[[frozenset[str]], Awaitable[Listing]]) -> None:
        self.listing: Listing | None = None
        self.problem = ""
        self._ask = ask
        self._ended: dict[str, float] = {}

    @property
    def is_known(self) -> bool:
        return self.listing is not None and not self.problem

    @property
    def guests(self) -> tuple[Guest, ...]:
        """Those of the last listing."""
        return self.listing.guests if self.listing else ()

    def known(self, unknown: Callable[[str], errors.Error], *, old: bool = False) -> Listing:
        """Return the listing, or raise what `unknown` makes of why there is none now.

        An `old` one may be of before libvirt's problem.
        """
        if self.listing is None or (self.problem and not old):
            raise unknown(self.problem or "libvirt was not asked yet; try again")
        return self.listing

    def may_run(self, uuid: str) -> bool:
        """Tell whether a domain runs here for all that is known."""
        return not self.is_known or any(g.uuid == uuid and g.active for g in self.guests)

    async def refresh(self, promised: Iterable[str]) -> bool:
        """List them anew, those that LUNs are `promised` to with their XML; False if that fails."""
        # At the source of a migration a domain is in the same state, and has been shown before.
        arriving = frozenset(promised) - (self.listing.shown if self.listing else frozenset())
        try:
            self.listing = self._without_ended(await self._ask(arriving))
        except errors.Storage as error:
            if str(error) != self.problem:
                told = "%s; nothing is logged out until it answers"
                log.warning(told, error, extra=events.LIBVIRT_SILENT())
            self.problem = str(error)
            return False
        self.problem = ""
        return True

    def ended(self, uuid: str, asked: float) -> None:
        """The QEMU of a domain is gone, its hook said `asked` (boottime() seconds)."""
        self._ended[uuid] = asked
        if self.listing:
            self.listing = self._without_ended(self.listing)

    def _without_ended(self, listing: Listing) -> Listing:
        """Show as off the domains that ended after the listing began."""
        self._ended = {uuid: at for uuid, at in self._ended.items() if at > listing.began}
        return listing.without(self._ended)
