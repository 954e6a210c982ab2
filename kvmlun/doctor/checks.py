"""The checks of ``kvmlun doctor``: each reads something of this host and has it judged."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .. import (
    commands,
    config,
    errors,
    keys,
    libvirtconn,
    loginprobe,
    nodedb,
    pools,
    scsi,
    sysfs,
    udev,
)
from ..client import Client
from ..finding import Finding
from ..markers import FOLDER as MARKS
from ..reservation import Host
from . import clock, daemon, hookprobe, initiator, sessions, stopping
from .programs import SECONDS, output

UNIX = Path("/proc/net/unix")
MACHINE_ID = Path("/etc/machine-id")
PROC = Path("/proc")
LIBVIRT = ("libvirtd", "virtqemud")
_UDEV_SECONDS = 10


async def iscsid() -> Finding | None:
    runs = any(nodedb.started("iscsid"))
    return initiator.daemon(UNIX.read_text(errors="replace"), runs, len(sysfs.states()))


async def initiator_name() -> Finding | None:
    file = loginprobe.INITIATOR
    if not file.exists():
        return initiator.name("", False, {})
    used = {sid: sysfs.initiator(sid) for sid in sysfs.states()}
    older = file.stat().st_mtime < MACHINE_ID.stat().st_mtime
    return initiator.name(file.read_text(errors="replace"), older, used)


async def versions() -> Finding | None:
    return initiator.version(await output("iscsid", "--version"))


async def open_iscsi() -> Finding | None:
    shown = ("LoadState", "ExecStop")
    asked = [word for name in shown for word in ("-p", name)]
    return stopping.judge(await output("systemctl", "show", *asked, stopping.UNIT))


async def udev_rules() -> list[Finding]:
    have = await asyncio.to_thread(udev.active_rules, _UDEV_SECONDS)
    return [
        Finding(
            "udev",
            f"udev does not go by {file}, so this host's LVM, md and blkid get at guests' disks",
            remedy=f"remove what takes the place of /usr/lib/udev/rules.d/{file} in "
            "/etc/udev/rules.d or /run/udev/rules.d, or apt install --reinstall kvmlun; then: "
            "udevadm control -R",
        )
        for file in udev.RULES.values()
        if file not in have
    ]


async def kvmlund() -> list[Finding]:
    """Also what it says of reservations, which nobody else may ask a LUN for while VMs run."""
    try:
        async with Client() as client:
            found = list(daemon.judge(await client.status(reservations=False)))
            return found + await _reservations(client)
    except errors.Unreachable as problem:
        return [daemon.silent(str(problem))]


async def _reservations(client: Client) -> list[Finding]:
    try:
        host = Host(keys.host_id(), loginprobe.initiator())
        return list(daemon.reservations(await client.reservations(), host))
    except errors.Error as problem:
        return [daemon.unasked(str(problem))]


async def hook() -> Finding | None:
    """Have libvirt call the hook (hookprobe.py tells how, and why nothing comes of it)."""
    if libvirtconn.is_absent():
        return None
    with tempfile.TemporaryDirectory(prefix="kvmlun-doctor-", dir="/run") as folder:
        image, definition = Path(folder, "saved"), Path(folder, "other.xml")
        image.write_bytes(hookprobe.saved())
        definition.write_text(hookprobe.other())
        argv = ["virsh", "-q", "-c", "qemu:///system", "restore", str(image)]
        result = await commands.run([*argv, "--xml", str(definition)], SECONDS)
    return hookprobe.judge(result.err or result.out, _lacks(hookprobe.HOOK), _profile())


async def replacement() -> list[Finding]:
    wanted = config.read()[0].settings.replacement
    marks = {path.name for path in MARKS.glob("*")}
    return list(sessions.replacement(sysfs.sessions(), marks, sysfs.recovery_timeout, wanted))


async def iscsi_pools() -> list[Finding]:
    active = list(pools.pools(pools.FOLDERS[:1]))
    if not active:
        return []
    return await asyncio.to_thread(lambda: list(sessions.pools(active, sysfs.sessions(), _users)))


async def synchronized() -> Finding | None:
    return clock.judge(await output("timedatectl", "show", "-p", "NTPSynchronized", "--value"))


def _users(disk: sysfs.Disk) -> list[str]:
    return [user for name in (disk.name, disk.map) if name for user in scsi.openers(name)]


def _lacks(hook: str) -> str:
    if not os.path.lexists(hook):
        return "is not there"
    return "" if os.access(hook, os.X_OK) else "can't be executed"


def _profile(names: Iterable[str] = LIBVIRT, proc: Path = PROC) -> str:
    """Return the AppArmor profile that is enforced on libvirt's daemon, "" where none is."""
    for process in proc.glob("[0-9]*"):
        if sysfs.read(f"{process}/comm") in names:
            profile, _, mode = sysfs.read(f"{process}/attr/current").partition(" ")
            return profile if mode == "(enforce)" else ""
    return ""
