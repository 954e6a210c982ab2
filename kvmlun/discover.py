"""What a SAN offers, as YAML that can be pasted into /etc/kvmlun."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from . import errors, yamlfile
from .config import Config
from .libiscsi import FoundLun, Initiator
from .lun import LunAddress, Portal, Wwid


def discover(initiator: Initiator, portal: Portal, catalog: Config) -> str:
    """Return the volumes behind a portal, with what can't be one as comments.

    Raises errors.Storage where the portal does not list its targets.
    """
    lines = ["volumes:\n"]
    names = set(catalog.volumes)
    for target, portals in sorted(initiator.targets(portal).items()):
        try:
            found = initiator.luns(portal if portal in portals else portals[0], target)
        except errors.Storage as problem:
            lines.append(f"  # {problem}\n")
            continue
        for lun in found:
            lines += _lun(lun, target, portals, catalog, names)
    return "".join(lines)


def _lun(
    lun: FoundLun, target: str, portals: tuple[Portal, ...], catalog: Config, names: set[str]
) -> Iterator[str]:
    address = LunAddress(target, lun.lun)
    if not lun.wwid:
        yield f"  # {address} has no identity that can be relied on (VPD page 0x83)\n"
        return
    if known := catalog.by_wwid(Wwid.parse(lun.wwid)):
        yield f"  # {address} is volume {known.volume}\n"
        return
    name = _name(address, names)
    names.add(name)
    volume: Mapping[str, object] = {
        "wwid": lun.wwid,
        "target": target,
        "lun": lun.lun,
        "portals": [str(portal) for portal in portals],
    }
    yield f"  # {lun.size / 2**30:.4g} GiB\n"
    text = yamlfile.dump({name: volume})
    yield "".join(f"  {line}\n" for line in text.splitlines())


def _name(address: LunAddress, taken: set[str]) -> str:
    """Propose a name: the target's own part of its name, and the number where there are more."""
    own = re.sub(r"[^A-Za-z0-9_.-]+", "-", address.target.rpartition(":")[2]).strip("-.")[:50]
    base = f"{own or 'lun'}-{address.lun}"
    return next(name for n in range(10**6) if (name := f"{base}.{n}" if n else base) not in taken)
