"""CHAP credentials of a session that is up, in the kernel.

An iscsid that starts takes over every session with the credentials that the kernel has for it,
whatever the node record says (open-iscsi usr/iscsid.c, sync_session), and has no command to change
them. So they are changed where it takes them from.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time

from . import errors, sysfs
from .secrets import Chap

# linux/netlink.h and include/scsi/iscsi_if.h of the kernel, which open-iscsi has a copy of.
_NETLINK_ISCSI = 8
_SET_PARAM = 16
_PARAMS = {"username": 22, "username_in": 23, "password": 24, "password_in": 25}
_MESSAGE = struct.Struct("=IHHII")  # struct nlmsghdr
_EVENT = struct.Struct("=IIQIIII24x")  # struct iscsi_uevent with its msg_set_param
_RESULT = struct.Struct("=Ii")
_SECONDS = 10
_PAUSE_SECONDS = 0.002


def differences(sid: int, chap: Chap) -> list[str]:
    """Return which of a session's credentials are others than these."""
    folder = f"/sys/class/iscsi_session/session{sid}"
    has = {name: sysfs.read(f"{folder}/{name}").replace("(null)", "") for name in _PARAMS}
    return [name for name in _PARAMS if getattr(chap, name) != has[name]]


def put(sid: int, chap: Chap) -> None:
    """Give a session these credentials for its next login.

    The kernel takes them while the session has a connection. One that is down has it for moments,
    each time that iscsid tries. Raises errors.Storage if it had none in ten seconds.
    """
    try:
        with open("/sys/class/iscsi_transport/tcp/handle") as file:
            handle = int(file.read())
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ISCSI) as kernel:
            kernel.settimeout(_SECONDS)
            kernel.bind((0, 0))
            end = time.monotonic() + _SECONDS
            for name in differences(sid, chap):
                while code := _set(
                    kernel, message(handle, sid, _PARAMS[name], getattr(chap, name))
                ):
                    if code != errno.ENOTCONN or time.monotonic() > end:
                        raise OSError(code, os.strerror(code))
                    time.sleep(_PAUSE_SECONDS)
    except (OSError, ValueError, struct.error) as error:
        raise errors.Storage(
            f"the kernel takes no new one ({getattr(error, 'strerror', '') or error}); give the "
            "array the old one until the session is up, then reload kvmlund again"
        ) from error


def _set(kernel: socket.socket, request: bytes) -> int:
    """Return the kernel's error number, 0 where it did as it was asked."""
    kernel.send(request)
    return result(kernel.recv(4096))


def message(handle: int, sid: int, param: int, value: str) -> bytes:
    """Return the request to set a text parameter of a session's only connection."""
    text = value.encode() + b"\0"
    event = _EVENT.pack(_SET_PARAM, 0, handle, sid, 0, param, len(text))
    length = _MESSAGE.size + len(event) + len(text)
    return _MESSAGE.pack(length, _SET_PARAM, 0, 0, 0) + event + text


def result(answer: bytes) -> int:
    """Return the error number in the kernel's answer, 0 without an error."""
    error: int = _RESULT.unpack_from(answer, _MESSAGE.size)[1]
    return -error
