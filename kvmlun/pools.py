"""Volumes of libvirt's iSCSI pools: which by-path link udev gives them.

libvirt turns ``<source pool= volume=>`` into a path only after the hook, and its pools are not to
be asked from within one, so the pool's own file is read. A pool is one target at one portal, its
volumes are named ``unit:0:0:LUN`` (libvirt src/storage/storage_backend_iscsi.c and
storage_util.c, virStorageBackendSCSINewLun).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import domxml, errors, sysfs
from .links import BY_PATH
from .lun import Portal, id_path

# Running ones first: a transient pool stands there only.
FOLDERS = (Path("/run/libvirt/storage"), Path("/etc/libvirt/storage"))
_PORT = "3260"
_LUN = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True)
class Pool:
    """An iSCSI pool as libvirt's file defines it; `host` may be a name."""

    name: str
    target: str
    host: str
    port: str
    chap: bool = False

    @property
    def portal(self) -> Portal | None:
        """Where it logs in, None where that is a host's name."""
        try:
            return Portal.make(self.host.strip("[]"), self.port, self.host)
        except errors.Invalid:
            return None

    def link(self, volume: str, portals: Sequence[Portal] = ()) -> str | None:
        """Return the by-path link of a volume, None where that can't be told.

        `portals` are those of the sessions with the target that are there: libvirt uses any of
        them, and its pool may name a host that only they give an address.
        """
        kind, _, number = volume.rpartition(":")
        if not (kind.startswith("unit:") and _LUN.fullmatch(number)):
            return None
        portal = self.portal
        if portals and not (portal and any(p.serves(portal) for p in portals)):
            portal = portals[0]
        return f"{BY_PATH}{id_path(portal, self.target, int(number))}" if portal else None


def volume_link(pool: str, volume: str) -> str | None:
    """Return the by-path link of a pool's volume, None if it is no iSCSI pool's."""
    found = find(pool)
    if found is None:
        return None
    portals = [s.portal for s in sysfs.sessions() if s.target == found.target and s.portal]
    return found.link(volume, portals)


def find(name: str, folders: tuple[Path, ...] = FOLDERS) -> Pool | None:
    """Return the iSCSI pool of that name, None if there is none."""
    if "/" in name or not name:
        return None
    for folder in folders:
        try:
            text = (folder / f"{name}.xml").read_bytes()
        except (OSError, ValueError):  # a NUL in the name
            continue
        return _parse(text)
    return None


def pools(folders: tuple[Path, ...] = FOLDERS) -> Iterator[Pool]:
    """Yield every iSCSI pool of this host, by name."""
    names = {path.stem for folder in folders for path in folder.glob("*.xml")}
    for name in sorted(names):
        if pool := find(name, folders):
            yield pool


def _parse(text: bytes) -> Pool | None:
    try:
        root = domxml.tree(text)
    except errors.Invalid:
        return None
    # libvirt wraps the definition of a running pool in its state.
    pool = root.find("pool") if root.tag == "poolstate" else root
    if pool is None or pool.get("type") != "iscsi":
        return None
    host, device = pool.find("source/host"), pool.find("source/device")
    if host is None or device is None:
        return None
    return Pool(
        name=pool.findtext("name", ""),
        target=device.get("path", ""),
        host=host.get("name", ""),
        port=host.get("port", _PORT),
        chap=pool.find("source/auth") is not None,
    )
