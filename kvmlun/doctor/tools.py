"""LVM, mdadm and multipath: reads how they are configured and has it judged (handsoff.py)."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from .. import handsoff
from ..finding import Finding
from .programs import installed, output

MDADM = Path("/etc/mdadm")
MDSTAT = Path("/proc/mdstat")
DISKS = Path("/dev/disk")
# by-diskseq counts anew at each boot.
_STAY = ("by-id", "by-partuuid", "by-path")


async def lvm() -> Finding | None:
    if not installed("lvmconfig"):
        return None
    names = ("use_devicesfile", "devicesfile", "filter", "global_filter")
    asked = ["lvmconfig", "--type", "full", *(f"devices/{name}" for name in names)]
    settings = handsoff.lvm_settings(await output(*asked))
    file = Path("/etc/lvm/devices", *settings["devicesfile"])
    return handsoff.lvm(settings, file.exists())


async def mdadm() -> Finding | None:
    if not installed("mdadm"):
        return None
    files = [MDADM / "mdadm.conf", *sorted((MDADM / "mdadm.conf.d").glob("*.conf"))]
    texts = {str(file): file.read_text(errors="replace") for file in files if file.exists()}
    mdstat = MDSTAT.read_text() if MDSTAT.exists() else ""
    members = [names(name) for name in handsoff.members(mdstat) if not _is_guests(name)]
    return handsoff.mdadm(texts, members, handsoff.arrays(mdstat))


async def multipath() -> Finding | None:
    if not installed("multipath"):
        return None
    return handsoff.multipath(await output("multipath", "-t"))


def _is_guests(name: str) -> bool:
    return os.path.lexists(f"{handsoff.FOLDER}{name}")


def names(name: str) -> list[str]:
    """Return the names of a device, first one that it keeps when the host boots again."""
    links = [link for kind in _STAY for link in sorted(glob.glob(f"{DISKS}/{kind}/*"))]
    node = f"/dev/{name}"
    return [*(link for link in links if os.path.realpath(link) == node), node]
