"""What the kernel shows of iSCSI sessions and their disks: one snapshot, read only.

Nothing here opens a device or waits for I/O. Entries that vanish while they
are being read are left out, as they would be a moment later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .lun import Portal, id_path

LOGGED_IN = "LOGGED_IN"


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
    def up(self) -> bool:
        return self.state == LOGGED_IN

    def id_path(self, disk: Disk) -> str | None:
        return id_path(self.portal, self.target, disk.lun) if self.portal else None


def sessions(root: Path = Path("/sys")) -> tuple[Session, ...]:
    """Return every session, in the order of their ids."""
    found = (_session(path) for path in _children(root / "class/iscsi_session"))
    return tuple(sorted((s for s in found if s), key=lambda session: session.sid))


def session(sid: int, root: Path = Path("/sys")) -> Session | None:
    """Return one session, None if it is gone."""
    return _session(root / f"class/iscsi_session/session{sid}")


def has_lun(host: int, lun: int, root: Path = Path("/sys")) -> bool:
    """Tell whether the kernel knows a device of that number; a scan is over when it returns."""
    names = [device.name for device in _children(root / "class/scsi_device")]
    return any(n.startswith(f"{host}:") and n.endswith(f":{lun}") for n in names)


def _session(path: Path) -> Session | None:
    target = read(path / "targetname")
    if not target:
        return None
    device = (path / "device").resolve()
    host = re.search(r"/host([0-9]+)/", f"{device}/")
    return Session(
        sid=int(path.name.removeprefix("session")),
        target=target,
        portal=_portal(device),
        state=read(path / "state"),
        host=int(host[1]) if host else None,
        disks=tuple(_disks(device)),
    )


def _portal(device: Path) -> Portal | None:
    for connection in _below(device, "connection", "iscsi_connection", "connection"):
        host, port = read(connection / "persistent_address"), read(connection / "persistent_port")
        if host and port.isdigit():
            return Portal(host, int(port))
    return None


def _disks(device: Path) -> Iterator[Disk]:
    for block in _below(device, "target", "", "block", ""):
        scsi = block.parent.parent
        number, size = read(block / "dev"), read(block / "size")
        if not number or not size.isdigit() or scsi.name.count(":") != 3:
            continue
        yield Disk(
            name=block.name,
            hctl=scsi.name,
            lun=int(scsi.name.rpartition(":")[2]),
            number=number,
            size=int(size) * 512,
            read_only=read(block / "ro") == "1",
            state=read(scsi / "state"),
            wwid=read(scsi / "wwid"),
            holders=tuple(sorted(child.name for child in _children(block / "holders"))),
            partitions=tuple(
                sorted(p.name for p in _children(block) if p.name.startswith(block.name))
            ),
        )


def _below(path: Path, *prefixes: str) -> list[Path]:
    """Return what lies below a folder, a level a prefix; unlike glob() nothing raises."""
    found = [path]
    for prefix in prefixes:
        found = [c for parent in found for c in _children(parent) if c.name.startswith(prefix)]
    return sorted(found)


def _children(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except OSError:
        return []


def read(path: Path) -> str:
    """Return an attribute without surrounding white space, "" if it cannot be read."""
    try:
        return path.read_bytes().decode(errors="replace").strip()
    except OSError:
        return ""
