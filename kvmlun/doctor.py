"""What this host still lacks: reads the configuration of other programs and has it judged.

Works without kvmlund.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from . import commands, errors, handsoff
from .handsoff import Finding

MDADM = Path("/etc/mdadm")
MDSTAT = Path("/proc/mdstat")
DISKS = Path("/dev/disk")
# by-diskseq counts anew at each boot.
_STAY = ("by-id", "by-partuuid", "by-path")
_SECONDS = 20
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


async def examine() -> list[Finding]:
    """Return what every check finds; raises errors.Storage where a program gives no answer."""
    found = [await check() for check in _CHECKS]
    return [finding for finding in found if finding]


async def _lvm() -> Finding | None:
    if not _installed("lvmconfig"):
        return None
    names = ("use_devicesfile", "devicesfile", "filter", "global_filter")
    asked = ["lvmconfig", "--type", "full", *(f"devices/{name}" for name in names)]
    settings = handsoff.lvm_settings(await _output(*asked))
    file = Path("/etc/lvm/devices", *settings["devicesfile"])
    return handsoff.lvm(settings, file.exists())


async def _mdadm() -> Finding | None:
    if not _installed("mdadm"):
        return None
    files = [MDADM / "mdadm.conf", *sorted((MDADM / "mdadm.conf.d").glob("*.conf"))]
    texts = {str(file): file.read_text(errors="replace") for file in files if file.exists()}
    mdstat = MDSTAT.read_text() if MDSTAT.exists() else ""
    members = [_names(name) for name in handsoff.members(mdstat) if not _is_guests(name)]
    return handsoff.mdadm(texts, members, handsoff.arrays(mdstat))


async def _multipath() -> Finding | None:
    if not _installed("multipath"):
        return None
    return handsoff.multipath(await _output("multipath", "-t"))


# In the order in which they are told.
_CHECKS: tuple[Callable[[], Awaitable[Finding | None]], ...] = (_lvm, _mdadm, _multipath)


def _installed(program: str) -> bool:
    return shutil.which(program, path=_PATH) is not None


async def _output(*args: str) -> str:
    result = await commands.run(args, _SECONDS)
    if result.code != 0:
        raise errors.Storage(f"{' '.join(args)}: {result.err or f'exit code {result.code}'}")
    return result.out


def _is_guests(name: str) -> bool:
    return os.path.lexists(f"{handsoff.FOLDER}{name}")


def _names(name: str) -> list[str]:
    """Return the names of a device, first one that it keeps when the host boots again."""
    links = [link for kind in _STAY for link in sorted(glob.glob(f"{DISKS}/{kind}/*"))]
    node = f"/dev/{name}"
    return [*(link for link in links if os.path.realpath(link) == node), node]
