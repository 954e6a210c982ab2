"""A portal that sends its initiators on to another one, as arrays with a virtual address do."""

import contextlib
import dataclasses
import signal
from collections.abc import Iterator

import pytest

from tests.lab import san, wait_for
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host


@contextlib.contextmanager
def redirecting(s: Stage, volume: san.Volume) -> Iterator[str]:
    """Give a portal of tgtd's that has the volume's target, and sends all logins to LIO's."""
    host, number = s.san.host, 20 + s.kvms[0].spec.octet
    address, _, port = volume.portal.rpartition(":")
    portal = f"{address}:33{number}"
    tgtadm = f"tgtadm -C {number} --lld iscsi --mode target --tid 1 --op"
    daemon = host.spawn(f"exec tgtd -f -C {number} --iscsi portal={portal}")
    try:
        new = f"{tgtadm} new -T {volume.iqn}"
        wait_for("tgtd", lambda: host.run(new, check=False).rc == 0, 30)
        for name, value in (
            ("RedirectAddress", address),
            ("RedirectPort", port),
            ("RedirectReason", "Temporary"),
        ):
            host.run(f"{tgtadm} update --name {name} --value {value}")
        host.run(f"{tgtadm} bind -I ALL")
        yield portal
    finally:
        daemon.signal(signal.SIGKILL)
        daemon.wait()


def test_a_target_that_redirects(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    with redirecting(s, volume) as portal:
        vm = s.vm("vm1", [dataclasses.replace(volume, portals=(portal,))])
        vm.start(host)
        assert [found.initiator for found in s.san.sessions(volume.iqn)] == [host.initiator]
        vm.destroy(host)
        s.wait_clean()
    vm.check_data(s.san)
