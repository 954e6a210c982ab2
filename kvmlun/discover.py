"""What a SAN offers, as YAML that can be pasted into /etc/kvmlun."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from . import errors, sizes, yamlfile
from .config import Config
from .libiscsi import FoundLun, Initiator
from .lun import LunAddress, Portal, Wwid
from .pools import Pool


def discover(initiator: Initiator, portal: Portal, catalog: Config, secret: str = "") -> str:
    """Return the volumes behind a portal, with what can't be one as comments.

    `secret` is the name of the one that the initiator uses.

    Raises errors.Storage where the portal does not list its targets.
    """
    lines = ["volumes:"]
    names = set(catalog.volumes)
    for target, portals in sorted(initiator.targets(portal).items()):
        try:
            found = initiator.luns(portal if portal in portals else portals[0], target)
        except errors.Storage as problem:
            lines.append(f"  # {problem}")
            continue
        for lun in found:
            own = f"{target.rpartition(':')[2]}-{lun.lun}"
            made = _proposal(lun, target, portals, catalog, own)
            if made.problem:
                lines.append(f"  # {made.problem}")
                continue
            lines.append(f"  # {sizes.text(lun.size)}")
            volume = {**made.volume, **({"secret": secret} if secret else {})}
            text = yamlfile.dump({_unique(made.name, names): volume})
            lines += [f"  {line}" for line in text.splitlines()]
    return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class Proposal:
    """A volume that could be added, or why there is none (`problem`)."""

    name: str
    volume: Mapping[str, object]
    problem: str = ""


def of_pool(initiator: Initiator, pool: Pool, catalog: Config) -> Iterator[Proposal]:
    """Yield what could be added for each LUN of a libvirt pool's target."""
    if pool.portal is None:
        yield Proposal("", {}, f"pool {pool.name}: {pool.host} is no address; discover that one")
        return
    try:
        found = initiator.luns(pool.portal, pool.target)
    except errors.Storage as problem:
        yield Proposal("", {}, f"pool {pool.name}: {problem}")
        return
    for lun in found:
        yield _proposal(lun, pool.target, (pool.portal,), catalog, f"{pool.name}-{lun.lun}")


def _proposal(
    lun: FoundLun, target: str, portals: tuple[Portal, ...], catalog: Config, name: str
) -> Proposal:
    address = LunAddress(target, lun.lun)
    if not lun.wwid:
        problem = f"{address} has no identity that can be relied on (VPD page 0x83)"
        return Proposal("", {}, problem)
    if known := catalog.by_wwid(Wwid.parse(lun.wwid)):
        moved = f", which the catalog has at {known.address}: correct its address"
        there = "" if known.address == address else moved
        return Proposal("", {}, f"{address} is volume {known.volume}{there}")
    volume = {
        "wwid": lun.wwid,
        "target": target,
        "lun": lun.lun,
        "portals": [str(portal) for portal in portals],
    }
    return Proposal(re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:60] or "lun", volume)


def _unique(name: str, taken: set[str]) -> str:
    """Return the name, with a number behind it where it is taken; it is taken then."""
    free = next(n for i in range(10**6) if (n := f"{name}.{i}" if i else name) not in taken)
    taken.add(free)
    return free
