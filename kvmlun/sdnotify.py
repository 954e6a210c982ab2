"""What systemd gives a service and hears from it: its socket, its state, its watchdog."""

from __future__ import annotations

import asyncio
import os
import socket

from systemd.daemon import listen_fds
from systemd.daemon import notify as _notify

from . import errors


def notify(state: str) -> None:
    """Tell systemd, if it started us, a state such as ``READY=1``."""
    _notify(state)


def listening_socket() -> socket.socket:
    """Return the socket that systemd passed; raises errors.Storage without one."""
    passed = listen_fds()
    if len(passed) != 1:
        raise errors.Storage("kvmlund gets its socket from systemd: systemctl start kvmlund.socket")
    return socket.socket(fileno=passed[0])


async def watchdog() -> None:
    """Ping systemd's watchdog for ever, at half its interval."""
    interval = int(os.environ.get("WATCHDOG_USEC", "0")) / 2_000_000
    while interval:
        notify("WATCHDOG=1")
        await asyncio.sleep(interval)
