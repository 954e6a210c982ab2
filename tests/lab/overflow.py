"""Runs on a host: sends udev's listeners an event that udev itself has sent, again and again.

    overflow.py DISK COUNT PADDING_BYTES

Standard library only.
"""

import contextlib
import socket
import struct
import sys

NETLINK_KOBJECT_UEVENT, UDEV_GROUP = 15, 2
# struct monitor_netlink_header of systemd's sd-device/device-monitor.c
PROPERTIES_OFFSET, PROPERTIES_LENGTH = 16, 20


def main(disk: str, count: int, padding: int) -> None:
    event = padded(heard(disk), padding)
    sender = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT)
    sender.bind((0, 0))
    for _ in range(count):
        # A listener whose buffer is full is what it may be about.
        with contextlib.suppress(OSError):
            sender.sendto(event, (0, UDEV_GROUP))


def heard(disk: str) -> bytes:
    """Return what udev sends after a change of that disk."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT) as listener:
        listener.bind((0, UDEV_GROUP))
        with open(f"/sys/class/block/{disk}/uevent", "w") as file:
            file.write("change")
        event = b""
        while f"DEVNAME=/dev/{disk}\0".encode() not in event:
            event = listener.recv(65536)
        return event


def padded(event: bytes, padding: int) -> bytes:
    """Add a property of that length, so that fewer events fill a buffer."""
    longer = bytearray(event + b"PADDING=" + b"x" * padding + b"\0")
    (offset,) = struct.unpack_from("I", longer, PROPERTIES_OFFSET)
    struct.pack_into("I", longer, PROPERTIES_LENGTH, len(longer) - offset)
    return bytes(longer)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
