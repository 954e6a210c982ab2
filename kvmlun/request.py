"""What is asked for when a domain's disk has to be ready."""

from __future__ import annotations

from dataclasses import dataclass

from .leases import Need
from .lun import Lun, Wwid


@dataclass(frozen=True)
class Request:
    """One source link of a domain's disk that has to be ready."""

    lun: Lun
    link: str
    read_only: bool
    shareable: bool
    domain: str  # UUID of who asks
    fenced: bool = False  # no other host may write to it

    @property
    def pinned(self) -> Wwid | None:
        return self.lun.wwid or Wwid.from_link(self.link)

    @property
    def need(self) -> Need:
        address = self.lun.address
        return Need(address.target, address.lun, str(self.pinned or ""), self.shareable)

    def __str__(self) -> str:
        return f"volume {self.lun.volume}" if self.lun.volume else self.link
