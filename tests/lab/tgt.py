"""Targets of tgtd, for what LIO does not do: it redirects, and gives any first LUN one identity."""

import contextlib
import signal
from collections.abc import Iterator

from tests.lab import machine, san, wait

FIRST = "naa.60000000000000000e00000000010001"


@contextlib.contextmanager
def target(host: machine.Machine, iqn: str, portal: str, number: int) -> Iterator[str]:
    """Have a tgtd of its own (control port `number`) with a target; gives tgtadm's command."""
    tgtadm = f"tgtadm -C {number} --lld iscsi --tid 1"
    daemon = host.spawn(f"exec tgtd -f -C {number} --iscsi portal={portal}")
    try:
        new = f"{tgtadm} --mode target --op new -T {iqn}"
        wait.wait_for("tgtd", lambda: host.run(new, check=False).rc == 0, 30)
        yield tgtadm
    finally:
        daemon.signal(signal.SIGKILL)
        daemon.wait()


@contextlib.contextmanager
def lun(host: machine.Machine, iqn: str, portal: str, number: int) -> Iterator[san.Volume]:
    """Have a target with one LUN of 64 MiB."""
    path = f"/var/tmp/tgt-{number}"
    with target(host, iqn, portal, number) as tgtadm:
        host.run(f"truncate -s 64M {path}")
        try:
            host.run(f"{tgtadm} --mode logicalunit --op new --lun 1 -b {path}")
            host.run(f"{tgtadm} --mode target --op bind -I ALL")
            yield san.Volume(iqn, 1, (portal,), FIRST, "", 64 << 20, path)
        finally:
            host.run(["rm", path])
