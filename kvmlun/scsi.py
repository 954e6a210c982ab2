"""SCSI work that may sleep uninterruptibly: scan, inquiry, rescan, flush, delete.

Every function runs in a worker process (worker.py) that can be abandoned: on a
dead session each of them can hang until the session's recovery time is over.
Arguments and results are what JSON can carry.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import struct
from pathlib import Path

from . import errors, sgio, vpd

# linux/fs.h, linux/blkpg.h
_BLKROGET, _BLKGETSIZE64, _BLKFLSBUF, _BLKPG = 0x125E, 0x80081272, 0x1261, 0x1269
_BLKPG_DEL_PARTITION = 2
_CAP_SYS_PTRACE = 19  # linux/capability.h
_VPD_LENGTH = 0xFFC
# SPC-5, 4.5.6: ILLEGAL REQUEST, of a field in the command or of the command itself
_NO_SUCH_PAGE = ((5, 0x24), (5, 0x20))


class _BlkpgPartition(ctypes.Structure):
    _fields_ = [
        ("start", ctypes.c_longlong),
        ("length", ctypes.c_longlong),
        ("pno", ctypes.c_int),
        ("devname", ctypes.c_char * 64),
        ("volname", ctypes.c_char * 64),
    ]


class _BlkpgIoctlArg(ctypes.Structure):
    _fields_ = [
        ("op", ctypes.c_int),
        ("flags", ctypes.c_int),
        ("datalen", ctypes.c_int),
        ("data", ctypes.c_void_p),
    ]


def scan(host: int, lun: int) -> None:
    """Have the kernel look for just this LUN; a session that is down finds nothing."""
    Path(f"/sys/class/scsi_host/host{host}/scan").write_text(f"0 0 {lun}")


def rescan(hctl: str) -> None:
    """Have the kernel read size and identity of a device anew."""
    Path(f"/sys/bus/scsi/devices/{hctl}/rescan").write_text("1")


def delete(hctl: str) -> None:
    """Remove a device from this host; one that is gone already is no error."""
    try:
        Path(f"/sys/bus/scsi/devices/{hctl}/delete").write_text("1")
    except FileNotFoundError:
        pass


def change(name: str) -> None:
    """Have udev apply its rules again."""
    Path(f"/sys/class/block/{name}/uevent").write_text("change")


def probe(name: str, number: str) -> dict[str, object]:
    """Ask the device itself who it is, how large, and whether it can be written.

    Returns ``wwids`` (strongest first), ``size`` in bytes, ``read_only``, and ``claimed``.
    `number` (major:minor) guards against a name that was given away meanwhile.
    """
    descriptor = sgio.open_disk(name, number)
    try:
        size = struct.unpack("Q", fcntl.ioctl(descriptor, _BLKGETSIZE64, bytes(8)))[0]
        read_only = struct.unpack("i", fcntl.ioctl(descriptor, _BLKROGET, bytes(4)))[0]
        wwids = [str(wwid) for wwid in vpd.identities(inquire(descriptor, 0x83))]
    finally:
        os.close(descriptor)
    answer = {"wwids": wwids, "size": size, "read_only": bool(read_only)}
    return {**answer, "claimed": _claimed(name)}


def claimed(name: str, number: str) -> bool:
    """Tell whether the host itself uses a disk (mount, swap, md, dm); QEMU does not show there."""
    os.close(sgio.open_disk(name, number))
    return _claimed(name)


def _claimed(name: str) -> bool:
    try:
        os.close(os.open(f"/dev/{name}", os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return True
    return False


def flush(name: str, number: str) -> None:
    """Write back and drop what the host cached of the device (BLKFLSBUF)."""
    descriptor = sgio.open_disk(name, number)
    try:
        fcntl.ioctl(descriptor, _BLKFLSBUF, 0)
    finally:
        os.close(descriptor)


def drop_partitions(name: str, number: str, partitions: list[int]) -> None:
    """Make the host forget partitions of a disk; nothing on the disk changes."""
    descriptor = sgio.open_disk(name, number)
    try:
        for partition in partitions:
            data = _BlkpgPartition(pno=partition)
            arg = _BlkpgIoctlArg(
                op=_BLKPG_DEL_PARTITION,
                datalen=ctypes.sizeof(data),
                data=ctypes.addressof(data),
            )
            try:
                fcntl.ioctl(descriptor, _BLKPG, arg)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
    finally:
        os.close(descriptor)


def openers(name: str) -> list[str]:
    """Return who uses a disk or one of its partitions: processes, mounts, swap, loop devices.

    Processes count by device number, so that QEMU's private /dev is seen as
    well. The device itself is not touched, so this works on a dead session too. Raises
    errors.Refused where that can't be seen.
    """
    _check_sight()
    block = Path("/sys/class/block", name)
    names = [name, *(child.name for child in block.glob(f"{name}*"))]
    numbers = {_text(Path("/sys/class/block", each, "dev")) for each in names}
    devices = {sgio.device(number) for number in numbers if number}
    processes = [
        f"{_command(process)} ({process.name})"
        for process in Path("/proc").iterdir()
        if process.name.isdigit() and int(process.name) != os.getpid() and _opens(process, devices)
    ]
    return processes + _mounts(set(names), numbers) + _swaps(set(names)) + _loops(set(names))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _mounts(names: set[str], numbers: set[str]) -> list[str]:
    """proc(5), /proc/PID/mountinfo: number in column 3, place in 5, source behind " - "."""
    found = []
    for line in Path("/proc/1/mountinfo").read_text(errors="replace").splitlines():
        fields, _, tail = line.partition(" - ")
        number, place = fields.split()[2], fields.split()[4]
        source = [*tail.split(), "", ""][1]
        # btrfs shows a number of its own, so its source has to tell.
        by_source = (
            source.startswith("/dev/") and os.path.basename(os.path.realpath(source)) in names
        )
        if number in numbers or by_source:
            found.append(f"mount {place}")
    return found


def _swaps(names: set[str]) -> list[str]:
    lines = Path("/proc/swaps").read_text().splitlines()[1:]
    return [f"swap {path}" for path in (line.split()[0] for line in lines)
            if os.path.basename(os.path.realpath(path)) in names]  # fmt: skip


def _loops(names: set[str]) -> list[str]:
    """A loop device has its file open inside the kernel, where nothing else shows it."""
    files = Path("/sys/class/block").glob("loop*/loop/backing_file")
    return [
        f"loop device {file.parts[-3]}"
        for file in files
        if os.path.basename(os.path.realpath(_text(file))) in names
    ]


def _opens(process: Path, wanted: set[int]) -> bool:
    try:
        descriptors = os.listdir(process / "fd")
    except OSError:
        return False
    for descriptor in descriptors:
        try:
            status = os.stat(process / "fd" / descriptor)
        except OSError:
            continue
        if stat.S_ISBLK(status.st_mode) and status.st_rdev in wanted:
            return True
    return False


def _check_sight() -> None:
    """Without this capability every process looks as if it had nothing open (proc(5), fd)."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    if not effective >> _CAP_SYS_PTRACE & 1:
        raise errors.Refused(
            "kvmlund lacks CAP_SYS_PTRACE and can't see who has a disk open; "
            "systemctl cat kvmlund tells what took it away"
        )


def _command(process: Path) -> str:
    return _text(process / "comm") or "?"


def inquire(descriptor: int, page: int) -> bytes:
    """Return a VPD page, b"" where the device has none of that number."""
    # SPC-5, 6.7: INQUIRY with EVPD; the allocation length is below 4 KiB, as some arrays want it.
    cdb = struct.pack(">BBBHB", 0x12, 1, page, _VPD_LENGTH, 0)
    answer = sgio.command(descriptor, cdb, read=_VPD_LENGTH)
    if answer.status == sgio.CHECK_CONDITION and (answer.key, answer.code) in _NO_SUCH_PAGE:
        return b""
    if answer.status:
        raise OSError(errno.EIO, f"INQUIRY failed with SCSI status 0x{answer.status:02x}")
    return answer.data
