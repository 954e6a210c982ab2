"""udev's database and its events. The only module that imports pyudev."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyudev

from . import errors
from .handsoff import ONE_PATH
from .wait import Deadline

log = logging.getLogger("kvmlun.udev")

TAG = "kvmlun"
GUEST = "KVMLUN_GUEST"
_BUFFER_BYTES = 64 << 20
_AT_ONCE = 1000
# What each of our files of rules gives an event that asks for it.
RULES = {"KVMLUN_DISK_RULES": "50-kvmlun.rules", "KVMLUN_MAP_RULES": "58-kvmlun-map.rules"}
_NULL = Path("/sys/devices/virtual/mem/null")


@dataclass(frozen=True)
class Record:
    """What udev knows of a disk once its rules have run, `since` seconds of CLOCK_MONOTONIC.

    `serial` is what its by-id links and multipath's map are made of (ID_SERIAL, by scsi_id).
    One that is `unmappable` is on multipath's blacklist, as it is used without a map.
    """

    guest: bool
    since: float
    serial: str
    unmappable: bool


class Udev:
    """Tagged events as a callback in the loop's thread, and look-ups in the database.

    `notify` is called after tagged events, and after an overflow as well:
    events are hints, the world is read anew.
    """

    def __init__(self, notify: Callable[[], None]) -> None:
        self._notify = notify
        self._context = pyudev.Context()
        self._monitor = pyudev.Monitor.from_netlink(self._context, source="udev")
        self._monitor.filter_by_tag(TAG)
        self._monitor.set_receive_buffer_size(_BUFFER_BYTES)

    def start(self) -> None:
        self._monitor.start()
        self._socket = socket.socket(fileno=os.dup(self._monitor.fileno()))
        asyncio.get_running_loop().add_reader(self._socket, self._drain)

    def record(self, name: str) -> Record | None:
        """Return udev's record of a disk, None before its rules have run."""
        try:
            device = pyudev.Devices.from_name(self._context, "block", name)
        except pyudev.DeviceNotFoundError:
            return None
        if not device.is_initialized:
            return None
        return Record(
            guest=device.properties.get(GUEST) == "1",
            since=int(device.properties.get("USEC_INITIALIZED", "0")) / 1e6,
            serial=device.properties.get("ID_SERIAL", ""),
            unmappable=ONE_PATH in device.properties,
        )

    def _drain(self) -> None:
        """Take events off the socket unread: parsing a storm of them would stop everything else."""
        try:
            for _ in range(_AT_ONCE):
                self._socket.recv(1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            log.debug("no more udev events")
        except OSError as error:
            log.warning("lost udev events (%s), looking at everything again", error.strerror)
        self._notify()


def active_rules(seconds: float) -> list[str]:
    """Return which of our files of rules udevd has, asked by an event of our own for /dev/null.

    An event that is made by hand carries arguments (kernel Documentation/ABI/testing/sysfs-uevent),
    by which the rules know this one. Raises errors.Timeout where udevd does not handle it in time,
    errors.Storage where none can be made.
    """
    monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="udev")
    monitor.filter_by("mem")
    monitor.start()
    mine = str(uuid.uuid4())
    try:
        (_NULL / "uevent").write_text(f"change {mine} KVMLUN=doctor")
    except OSError as error:
        raise errors.Storage(f"can't make an event for udev: {error.strerror}") from error
    deadline = Deadline(seconds)
    while deadline.left:
        device = monitor.poll(deadline.left)
        if device is not None and device.properties.get("SYNTH_UUID") == mine:
            return [file for key, file in RULES.items() if key in device.properties]
    raise errors.Timeout(f"udev did not handle an event within {seconds:.0f} s")
