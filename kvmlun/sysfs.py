"""What the kernel shows of iSCSI sessions and their disks: one snapshot, read only.

Nothing here opens a device or waits for I/O. Entries that vanish while they
are being read are left out, as they would be a moment later. Plain names and
not pathlib, which took most of the time of a look at everything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .lun import Portal, id_path

# States of a session (iscsi_session_state_names in the kernel's scsi_transport_iscsi.c): FAILED
# while its target does not answer, FREE once that has lasted too long, and while it ends.
LOGGED_IN, FAILED, FREE = STATES = ("LOGGED_IN", "FAILED", "FREE")


@dataclass(frozen=True)
class Disk:
    """A SCSI disk behind a session; `lun` is the kernel's number, `size` is in bytes."""

    name: str
    hctl: str
    lun: int
    number: str  # major:minor
    size: int
    read_only: bool
    state: str
    wwid: str  # as the kernel read it at scan time: a hint, never a proof
    holders: tuple[str, ...]
    partitions: tuple[str, ...]
    map: str = ""  # the multipath map among the holders

    @property
    def node(self) -> str:
        return f"/dev/{self.name}"


@dataclass(frozen=True)
class Session:
    """An iSCSI session of this host's software initiator."""

    sid: int
    target: str
    portal: Portal | None  # the portal it was logged in to, also after a redirect
    state: str
    host: int | None
    disks: tuple[Disk, ...]

    @property
    def key(self) -> tuple[str, Portal | None]:
        return self.target, self.portal

    @property
    def up(self) -> bool:
        return self.state == LOGGED_IN

    def serves(self, portals: Iterable[Portal]) -> bool:
        """Tell whether it is what one of these portals asks for."""
        return any(self.portal and self.portal.serves(portal) for portal in portals)

    def id_path(self, disk: Disk) -> str | None:
        return id_path(self.portal, self.target, disk.lun) if self.portal else None


@dataclass(frozen=True)
class Map:
    """A multipath map; `uuid` is device mapper's, ``mpath-`` and what scsi_id tells of its LUN.

    `alias` is device mapper's name, by which multipath's commands know it.
    """

    name: str
    alias: str
    number: str  # major:minor
    uuid: str
    paths: tuple[str, ...]
    holders: tuple[str, ...]

    @property
    def node(self) -> str:
        return f"/dev/{self.name}"


def multipath_map(disk: Disk, root: str = "/sys") -> Map | None:
    """Return the multipath map that has a disk as a path, None if none has right now."""
    for path in _names(f"{root}/class/block/{disk.name}/holders"):
        if found := _map(path, root):
            return found
    return None


def maps(root: str = "/sys") -> tuple[Map, ...]:
    """Return every multipath map of this host."""
    names = (name for name in _names(f"{root}/class/block") if name.startswith("dm-"))
    return tuple(found for name in names if (found := _map(name, root)))


def _map(name: str, root: str) -> Map | None:
    block = f"{root}/class/block/{name}"
    uuid, number = read(f"{block}/dm/uuid"), read(f"{block}/dev")
    if not uuid.startswith("mpath-") or not number:
        return None
    paths, holders = tuple(_names(f"{block}/slaves")), tuple(_names(f"{block}/holders"))
    return Map(name, read(f"{block}/dm/name"), number, uuid, paths, holders)


def sessions(root: str = "/sys") -> tuple[Session, ...]:
    """Return every session, in the order of their ids."""
    folder = f"{root}/class/iscsi_session"
    found = (_session(f"{folder}/{name}") for name in _names(folder))
    return tuple(sorted((s for s in found if s), key=lambda session: session.sid))


def unserved(portals: Iterable[Portal], found: Iterable[Session]) -> list[Portal]:
    """Return the portals that none of the sessions found is with."""
    found = list(found)
    return [portal for portal in portals if not any(s.serves((portal,)) for s in found)]


def states(root: str = "/sys") -> dict[int, str]:
    """Return just the state of each session by its id: cheap enough to be looked at often."""
    folder = f"{root}/class/iscsi_session"
    return {int(n.removeprefix("session")): read(f"{folder}/{n}/state") for n in _names(folder)}


def session(sid: int, root: str = "/sys") -> Session | None:
    """Return one session, None if it is gone."""
    return _session(f"{root}/class/iscsi_session/session{sid}")


def initiator(sid: int, root: str = "/sys") -> str:
    """Return the initiator name that a session was logged in with, "" if it is gone."""
    return read(f"{root}/class/iscsi_session/session{sid}/initiatorname")


def recovery_timeout(sid: int, root: str = "/sys") -> str:
    """Return how many seconds I/O waits for a session that is lost, "off" for no end."""
    return read(f"{root}/class/iscsi_session/session{sid}/recovery_tmo")


def has_lun(host: int, lun: int, root: str = "/sys") -> bool:
    """Tell whether the kernel knows a device of that number; a scan is over when it returns."""
    return bool(_devices(host, lun, root))


def disk_name(host: int, lun: int, root: str = "/sys") -> str | None:
    """Return just the name of the disk of that number: cheap enough to be looked at often."""
    names = (name for device in _devices(host, lun, root) for name in _names(f"{device}/block"))
    return next(names, None)


def _devices(host: int, lun: int, root: str) -> list[str]:
    folder = f"{root}/class/scsi_device"
    found = (n for n in _names(folder) if n.startswith(f"{host}:") and n.endswith(f":{lun}"))
    return [f"{folder}/{n}/device" for n in found]


def _session(path: str) -> Session | None:
    target = read(f"{path}/targetname")
    if not target:
        return None
    device = os.path.realpath(f"{path}/device")
    host = re.search(r"/host([0-9]+)/", f"{device}/")
    return Session(
        sid=int(path.rpartition("/session")[2]),
        target=target,
        portal=_portal(device, read(f"{path}/ifacename")),
        state=read(f"{path}/state"),
        host=int(host[1]) if host else None,
        disks=tuple(_disks(device)),
    )


def _portal(device: str, iface: str) -> Portal | None:
    for connection in _below(device, "connection", "iscsi_connection", "connection"):
        host, port = read(f"{connection}/persistent_address"), read(f"{connection}/persistent_port")
        if host and port.isdigit():
            return Portal(host, int(port), "" if iface == "default" else iface)
    return None


def _disks(device: str) -> Iterator[Disk]:
    for block in _below(device, "target", "", "block", ""):
        scsi, _, name = block.rpartition("/block/")
        hctl = os.path.basename(scsi)
        number, size = read(f"{block}/dev"), read(f"{block}/size")
        if not number or not size.isdigit() or hctl.count(":") != 3:
            continue
        yield Disk(
            name=name,
            hctl=hctl,
            lun=int(hctl.rpartition(":")[2]),
            number=number,
            size=int(size) * 512,
            read_only=read(f"{block}/ro") == "1",
            state=read(f"{scsi}/state"),
            wwid=read(f"{scsi}/wwid"),
            holders=(holders := tuple(_names(f"{block}/holders"))),
            map=next((h for h in holders if _is_map(f"{block}/holders/{h}")), ""),
            partitions=tuple(child for child in _names(block) if child.startswith(name)),
        )


def _is_map(block: str) -> bool:
    return read(f"{block}/dm/uuid").startswith("mpath-")


def _below(path: str, *prefixes: str) -> list[str]:
    """Return what lies below a folder, a level a prefix; unlike glob() nothing raises."""
    found = [path]
    for prefix in prefixes:
        found = [f"{up}/{n}" for up in found for n in _names(up) if n.startswith(prefix)]
    return found


def _names(path: str) -> list[str]:
    """Return the names in a folder, sorted, and none where it can't be read."""
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def read(path: str) -> str:
    """Return an attribute without surrounding white space, "" if it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""
