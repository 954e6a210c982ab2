"""Runs on a host: floods udev's listeners with an event that udev itself has sent.

Prints how many copies were sent, each as long as the first. Standard library only.
"""

import socket
import sys

NETLINK_KOBJECT_UEVENT, UDEV_GROUP = 15, 2


def main(device: str, wanted_bytes: int) -> None:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT)
    netlink.bind((0, UDEV_GROUP))
    with open(f"/sys/class/block/{device}/uevent", "w") as file:
        file.write("change")
    event = b""
    while f"DEVNAME=/dev/{device}\0".encode() not in event:
        event = netlink.recv(65536)
    netlink.close()
    sender = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT)
    sender.bind((0, 0))
    count = wanted_bytes // len(event)
    for _ in range(count):
        try:
            sender.sendto(event, (0, UDEV_GROUP))
        except OSError:
            pass  # a listener whose buffer is full
    print(count)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
