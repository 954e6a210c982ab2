"""One SCSI command to a disk, by the kernel's SG_IO. Blocks until the device has answered."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from dataclasses import dataclass

from . import errors

# scsi/sg.h
_SG_IO, _TO_DEVICE, _FROM_DEVICE, _NO_DATA = 0x2285, -2, -3, -1
# SAM-5, 5.3.1
GOOD, CHECK_CONDITION, RESERVATION_CONFLICT = 0x00, 0x02, 0x18
NOT_READY, ILLEGAL_REQUEST, UNIT_ATTENTION = 0x2, 0x5, 0x6  # sense keys, SPC-5, 4.4.8
_SECONDS = 10
_SENSE_LENGTH = 64


class _SgIoHdr(ctypes.Structure):
    _fields_ = [
        ("interface_id", ctypes.c_int),
        ("dxfer_direction", ctypes.c_int),
        ("cmd_len", ctypes.c_ubyte),
        ("mx_sb_len", ctypes.c_ubyte),
        ("iovec_count", ctypes.c_ushort),
        ("dxfer_len", ctypes.c_uint),
        ("dxferp", ctypes.c_void_p),
        ("cmdp", ctypes.c_void_p),
        ("sbp", ctypes.c_void_p),
        ("timeout", ctypes.c_uint),
        ("flags", ctypes.c_uint),
        ("pack_id", ctypes.c_int),
        ("usr_ptr", ctypes.c_void_p),
        ("status", ctypes.c_ubyte),
        ("masked_status", ctypes.c_ubyte),
        ("msg_status", ctypes.c_ubyte),
        ("sb_len_wr", ctypes.c_ubyte),
        ("host_status", ctypes.c_ushort),
        ("driver_status", ctypes.c_ushort),
        ("resid", ctypes.c_int),
        ("duration", ctypes.c_uint),
        ("info", ctypes.c_uint),
    ]


@dataclass(frozen=True)
class Answer:
    """SCSI status, sense key and additional sense code (0 without sense), and the data read."""

    status: int
    key: int
    code: int
    data: bytes


def open_disk(name: str, number: str) -> int:
    """Open a disk for reading; `number` (major:minor) guards against a name that was given away.

    Raises OSError, and errors.Refused where the name is another device's by now.
    """
    descriptor = os.open(f"/dev/{name}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if os.fstat(descriptor).st_rdev != device(number):
        os.close(descriptor)
        raise errors.Refused(f"/dev/{name} is no longer the device {number}")
    return descriptor


def device(number: str) -> int:
    """Return what stat(2) has for major:minor."""
    major, minor = number.split(":")
    return os.makedev(int(major), int(minor))


def command(descriptor: int, cdb: bytes, *, read: int = 0, write: bytes = b"") -> Answer:
    """Send one command, which reads at most `read` bytes or writes `write`; never again by itself.

    Raises OSError where the device did not get it or gave no answer.
    """
    block = ctypes.create_string_buffer(cdb, len(cdb))
    data = ctypes.create_string_buffer(write, len(write) or read)
    sense = ctypes.create_string_buffer(_SENSE_LENGTH)
    header = _SgIoHdr(
        interface_id=ord("S"),
        dxfer_direction=_TO_DEVICE if write else _FROM_DEVICE if read else _NO_DATA,
        cmd_len=len(cdb),
        mx_sb_len=_SENSE_LENGTH,
        dxfer_len=len(write) or read,
        dxferp=ctypes.addressof(data),
        cmdp=ctypes.addressof(block),
        sbp=ctypes.addressof(sense),
        timeout=_SECONDS * 1000,
    )
    fcntl.ioctl(descriptor, _SG_IO, header)
    status = header.status & 0x7E  # SAM-5, 5.3.1: TASK ABORTED is 0x40
    if status == GOOD and (header.host_status or header.driver_status & 0xF):
        raise OSError(
            errno.EIO,
            f"command 0x{cdb[0]:02x} got no answer (host status 0x{header.host_status:02x})",
        )
    key, code = sense_codes(sense.raw) if status == CHECK_CONDITION else (0, 0)
    return Answer(status, key, code, data.raw[: read - max(header.resid, 0)] if read else b"")


def sense_codes(sense: bytes) -> tuple[int, int]:
    """Return sense key and additional sense code (SPC-5, 4.4: descriptor and fixed format)."""
    key, code = (1, 2) if sense[0] & 0x7F in (0x72, 0x73) else (2, 12)
    return sense[key] & 0xF, sense[code]
