"""Which disks of a domain are kvmlun's, and which LUN each of them means."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable

from . import errors, links
from .domxml import Disk, Domain
from .links import BY_PATH
from .lun import Lun, LunAddress, Portal, Wwid, parse_by_path
from .request import Request

# A disk of a domain, the link that names it there (or will), and the LUN that it means.
Source = tuple[Disk, str, Lun]

_MAX_LUNS = 1000  # each is compared with each


class Sources:
    """Where a host learns where to log in: the catalog, the domain's metadata, what is here.

    `present` describes the LUN that a link leads to right now: an operator's
    own session serves as well, without any configuration. `allows` tells which
    portals may be used: who may change a domain chooses those in its metadata and links. `fences`
    tells of a WWID, and of what metadata says, whether other hosts are kept from writing.
    """

    def __init__(
        self,
        by_wwid: Callable[[Wwid], Lun | None],
        by_address: Callable[[LunAddress], Lun | None],
        present: Callable[[str], Lun | None],
        allows: Callable[[Portal], bool],
        fences: Callable[[Wwid | None, bool | None], bool],
    ) -> None:
        self._by_wwid = by_wwid
        self._by_address = by_address
        self._present = present
        self._allows = allows
        self._fences = fences

    def luns(self, domain: Domain) -> list[Source]:
        """Return disk, link and LUN for every source of `domain` that is ours.

        Raises errors.Refused where the sources contradict each other, a link
        cannot be relied on, or no portal is allowed.
        """
        found = []
        for disk in domain.disks:
            for link in disk.links:
                if lun := self.resolve(link, domain.luns):
                    found.append((disk, link, lun))
                if len(found) > _MAX_LUNS:
                    raise errors.Refused(f"{domain.name} has more than {_MAX_LUNS} iSCSI disks")
        if domain.overlays:
            shown = {lun.wwid for _, _, lun in found}
            hidden = (lun for lun in domain.luns if lun.overlay and lun.wwid not in shown)
            found += [self._below_an_overlay(lun) for lun in hidden]
        return [
            (disk, link, self._fenced(link, self._allowed(link, lun), domain))
            for disk, link, lun in found
        ]

    def of_link(self, link: str, domain: Domain) -> Lun | None:
        """Return the LUN of one link of `domain`, None if it is not ours. Raises as luns()."""
        lun = self.resolve(link, domain.luns)
        return self._fenced(link, self._allowed(link, lun), domain) if lun else None

    def running(self, domain: Domain) -> list[Source]:
        """Return what a running domain has open, whatever has been configured since its start.

        Where its sources contradict each other by now, its metadata has what was proven then.
        """
        found = []
        for disk in domain.disks:
            for link in disk.links:
                try:
                    lun = self.resolve(link, domain.luns)
                except errors.Error:
                    lun = recorded(link, domain.luns)
                if lun:
                    found.append((disk, link, self._fenced(link, lun, domain)))
        return found

    def _fenced(self, link: str, lun: Lun, domain: Domain) -> Lun:
        told = recorded(link, domain.luns)
        fenced = self._fences(lun.wwid or Wwid.from_link(link), told.fencing if told else None)
        return dataclasses.replace(lun, fencing=fenced or None)

    def _allowed(self, link: str, lun: Lun) -> Lun:
        portals = tuple(portal for portal in lun.portals if self._allows(portal))
        if not portals:
            raise errors.Refused(
                f"{link}: {', '.join(lun.addresses)} is no portal of a volume in /etc/kvmlun, and "
                "not in settings.portals of /etc/kvmlun/kvmlun.yaml; if it is yours add it there"
            )
        return dataclasses.replace(lun, portals=portals)

    def resolve(self, link: str, metadata: Iterable[Lun]) -> Lun | None:
        """Return the LUN that `link` means, None if it is not an iSCSI disk's."""
        judged = links.judge(link)
        if link.startswith(BY_PATH):
            return None if judged == links.LOCAL else self._of_path(link, metadata)
        wwid = Wwid.from_link(link)
        if wwid is None:
            if judged == links.OURS:
                raise errors.Refused(self._not_everywhere(link))
            return None
        catalog = self._by_wwid(wwid)
        told = recorded(link, metadata)
        if catalog and told and told.size:
            return dataclasses.replace(catalog, size=told.size)
        if told and not catalog:
            _agree(link, told, self._by_address(told.address))
        # What is known to be iSCSI's is, also while its link leads to another disk.
        return catalog or told or (self._present(link) if judged == links.OURS else None)

    def _not_everywhere(self, link: str) -> str:
        lun = self._present(link)
        use = "its wwn- link"
        if lun and lun.wwid:
            with contextlib.suppress(errors.Invalid):
                use = lun.wwid.link
        return (
            f"{link}: only wwn-, scsi-3, scsi-2 and dm-uuid-mpath- links exist on every host; "
            f"use {use} in the domain's <source>"
        )

    def _of_path(self, link: str, metadata: Iterable[Lun]) -> Lun | None:
        spelled = parse_by_path(link)
        if spelled is None:
            return None
        told, catalog = recorded(link, metadata), self._by_address(spelled.address)
        if told:
            _agree(link, told, catalog)
        pinned = catalog or told
        if pinned is None:
            return spelled
        # The catalog's secret is for the catalog's portals only, and so are its ifaces.
        known = [p for p in pinned.portals if any(p.serves(each) for each in spelled.portals)]
        return dataclasses.replace(
            pinned,
            address=spelled.address,
            portals=tuple(known) or spelled.portals,
            overlay=False,
            secret=pinned.secret if known else None,
        )

    def _below_an_overlay(self, recorded: Lun) -> Source:
        """After an external snapshot the definition names a file, only metadata the LUN below."""
        assert recorded.wwid
        link, catalog = recorded.wwid.link, self._by_wwid(recorded.wwid)
        lun = dataclasses.replace(catalog, size=recorded.size) if catalog else recorded
        return Disk("?", (link,), read_only=False, shareable=False, cache="none"), link, lun


def _agree(link: str, recorded: Lun, catalog: Lun | None) -> None:
    """Refuse metadata that has another LUN at an address than the catalog."""
    if catalog and catalog.wwid != recorded.wwid:
        raise errors.Refused(
            f"{link}: {recorded.address} is {catalog.wwid} in /etc/kvmlun (volume "
            f"{catalog.volume}), {recorded.wwid} in the domain's metadata; find out which is "
            "right, then kvmlun volume repin takes that one"
        )


def recorded(link: str, metadata: Iterable[Lun]) -> Lun | None:
    """Return what metadata tells of the LUN of a link, by the WWID or the address it spells."""
    wwid, spelled = Wwid.from_link(link), None
    with contextlib.suppress(errors.Invalid):
        spelled = parse_by_path(link)
    return next(
        (
            lun
            for lun in metadata
            if (wwid and lun.wwid == wwid) or (spelled and lun.address == spelled.address)
        ),
        None,
    )


def request(domain: Domain, disk: Disk, link: str, lun: Lun) -> Request:
    """Return what has to be ready for a source of a domain's disk."""
    fenced = bool(lun.fencing) and disk.alone
    return Request(lun, link, disk.read_only, disk.shareable, domain.uuid, fenced)
