"""Which disks of a domain are kvmlun's, and which LUN each of them means.

Shared by hook and daemon; standard library only.
"""

from __future__ import annotations

import dataclasses
import enum
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from . import errors
from .domxml import Disk, Domain
from .lun import BY_ID, BY_PATH, Lun, LunAddress, Wwid, parse_by_path

_PARTITION = re.compile(r"-part[0-9]+$")


class Kind(enum.Enum):
    """What a source link is, as far as this host can tell without asking anybody."""

    OURS = "iSCSI"
    LOCAL = "not iSCSI"
    UNSEEN = "a link that does not exist"


def kind(link: str, sys: Path = Path("/sys")) -> Kind:
    """Judge a source link by its name and by the device it leads to."""
    name = os.path.basename(link)
    if link.startswith(BY_PATH):
        whole = name.startswith("ip-") and "-iscsi-" in name and not _PARTITION.search(name)
        return Kind.OURS if whole else Kind.LOCAL
    if not os.path.exists(link):
        return Kind.UNSEEN
    device = os.path.basename(os.path.realpath(link))
    return Kind.OURS if _iscsi(device, sys) else Kind.LOCAL


def _iscsi(device: str, sys: Path) -> bool:
    path = sys / "class/block" / device
    if "/session" in os.path.realpath(path):
        return "-part" not in device and not os.path.exists(path / "partition")
    try:
        multipath = (path / "dm/uuid").read_text().startswith("mpath-")
        leaves = os.listdir(path / "slaves") if multipath else []
    except OSError:
        return False
    return any(_iscsi(leaf, sys) for leaf in leaves)


def concerns(domain: Domain, wwids: frozenset[str] | None) -> bool | None:
    """Tell whether any disk is ours; None where only the daemon can tell.

    `wwids` is the catalog as the hook knows it, None if it was never written.
    """
    unsure = False
    for link in domain.links:
        judged = kind(link)
        if judged is Kind.OURS or link_is_known(link, domain, wwids or frozenset()):
            return True
        unsure |= judged is Kind.UNSEEN and wwids is None
    return None if unsure else False


def link_is_known(link: str, domain: Domain, wwids: frozenset[str]) -> bool:
    wwid = Wwid.from_link(link) if link.startswith(BY_ID) else None
    if wwid is None or kind(link) is Kind.LOCAL:
        return False
    return str(wwid) in wwids or any(lun.wwid == wwid for lun in domain.luns)


class Sources:
    """Where a host learns where to log in: the catalog, the domain's metadata, what is here.

    `present` describes the LUN that a link leads to right now: an operator's
    own session serves as well, without any configuration.
    """

    def __init__(
        self,
        by_wwid: Callable[[Wwid], Lun | None],
        by_address: Callable[[LunAddress], Lun | None],
        present: Callable[[str], Lun | None],
    ) -> None:
        self._by_wwid = by_wwid
        self._by_address = by_address
        self._present = present

    def luns(self, domain: Domain) -> list[tuple[Disk, str, Lun]]:
        """Return disk, link and LUN for every source of `domain` that is ours.

        Raises errors.Refused where the sources contradict each other or a link
        cannot be relied on.
        """
        found = []
        for disk in domain.disks:
            for link in disk.links:
                if lun := self.resolve(link, domain.luns):
                    found.append((disk, link, lun))
        return found

    def resolve(self, link: str, metadata: Iterable[Lun]) -> Lun | None:
        """Return the LUN that `link` means, None if it is not an iSCSI disk's."""
        judged = kind(link)
        if judged is Kind.LOCAL:
            return None
        if link.startswith(BY_PATH):
            return self._of_path(link, metadata)
        wwid = Wwid.from_link(link)
        if wwid is None:
            if judged is Kind.OURS:
                raise errors.Refused(
                    f"{link}: only wwn-, scsi-3, scsi-2 and dm-uuid-mpath- links exist on every "
                    "host; use the wwn- link of this LUN (kvmlun disk-xml VOLUME prints it)"
                )
            return None
        catalog = self._by_wwid(wwid)
        recorded = next((lun for lun in metadata if lun.wwid == wwid), None)
        if catalog and recorded and recorded.size:
            return dataclasses.replace(catalog, size=recorded.size)
        return catalog or recorded or (self._present(link) if judged is Kind.OURS else None)

    def _of_path(self, link: str, metadata: Iterable[Lun]) -> Lun | None:
        spelled = parse_by_path(link)
        if spelled is None:
            return None
        recorded = next((lun for lun in metadata if lun.address == spelled.address), None)
        catalog = self._by_address(spelled.address)
        if recorded and catalog and recorded.wwid != catalog.wwid:
            raise errors.Refused(
                f"{link}: /etc/kvmlun says {catalog.wwid}, the domain's metadata {recorded.wwid}; "
                "correct the one that is wrong"
            )
        pinned = catalog or recorded
        if pinned is None:
            return spelled
        return Lun(pinned.wwid, spelled.address, spelled.portals, pinned.size, pinned.volume)
