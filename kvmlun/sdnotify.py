"""systemd's service protocols (sd_notify(3), sd_listen_fds(3)) in the little we need."""

from __future__ import annotations

import asyncio
import os
import socket

from . import errors

_FIRST_FD = 3


def notify(state: str) -> None:
    """Tell systemd, if it started us, a state such as ``READY=1``."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.connect("\0" + path[1:] if path.startswith("@") else path)
            connection.send(state.encode())


def listening_socket() -> socket.socket:
    """Return the socket that systemd passed; raises errors.Storage without one."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        raise errors.Storage("kvmlund gets its socket from systemd: systemctl start kvmlund.socket")
    return socket.socket(fileno=_FIRST_FD)


async def watchdog() -> None:
    """Ping systemd's watchdog for ever, at half its interval."""
    interval = int(os.environ.get("WATCHDOG_USEC", "0")) / 2_000_000
    while interval:
        notify("WATCHDOG=1")
        await asyncio.sleep(interval)
