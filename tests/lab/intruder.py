"""Somebody who logs in to a LUN by hand and writes to it: no kvmlun, no libvirt, no reservation."""

import contextlib
import dataclasses
from collections.abc import Iterator

from tests.lab import machine, remote, san, wait

CONFLICT = "Invalid exchange"  # EBADE, what the kernel makes of RESERVATION CONFLICT
OFFSET = 32 << 20  # behind every guest's ring
LENGTH = 4096
LOGIN_SECONDS = 30


@dataclasses.dataclass(frozen=True)
class Intruder:
    host: machine.Machine
    volume: san.Volume

    def write(self) -> str:
        """Write to the LUN past the page cache; return dd's complaint, "" where it has written."""
        done = self.host.run(
            f"dd if=/dev/urandom of={self.volume.by_path()} bs={LENGTH} count=1 "
            f"seek={OFFSET // LENGTH} oflag=direct conv=fsync status=none",
            check=False,
        )
        return done.err.strip()

    def persist(self, arguments: str) -> remote.Result:
        """Run sg_persist on the LUN."""
        return self.host.run(f"sg_persist {arguments} {self.volume.by_path()}", check=False)


@contextlib.contextmanager
def logged_in(host: machine.Machine, volume: san.Volume) -> Iterator[Intruder]:
    record = f"iscsiadm -m node -T {volume.iqn} -p {volume.portal}"
    host.run(f"{record} -o new && {record} --login")
    try:
        wait.wait_for(
            "the intruder's disk",
            lambda: host.run(["test", "-b", volume.by_path()], check=False).rc == 0,
            LOGIN_SECONDS,
        )
        yield Intruder(host, volume)
    finally:
        host.run(f"{record} --logout; {record} -o delete", check=False)
