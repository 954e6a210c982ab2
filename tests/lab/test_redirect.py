"""A portal that sends its initiators on to another one, as arrays with a virtual address do."""

import contextlib
import dataclasses
from collections.abc import Iterator

import pytest

from tests.lab import san, tgt
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host


@contextlib.contextmanager
def redirecting(s: Stage, volume: san.Volume) -> Iterator[str]:
    """Give a portal of tgtd's that has the volume's target, and sends all logins to LIO's."""
    host, number = s.san.host, 20 + s.kvms[0].spec.octet
    address, _, port = volume.portal.rpartition(":")
    portal = f"{address}:33{number}"
    with tgt.target(host, volume.iqn, portal, number) as tgtadm:
        for name, value in (
            ("RedirectAddress", address),
            ("RedirectPort", port),
            ("RedirectReason", "Temporary"),
        ):
            host.run(f"{tgtadm} --mode target --op update --name {name} --value {value}")
        host.run(f"{tgtadm} --mode target --op bind -I ALL")
        yield portal


def test_a_target_that_redirects(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    with redirecting(s, volume) as portal:
        vm = s.vm("vm1", [dataclasses.replace(volume, portals=(portal,))])
        vm.start(host)
        assert [found.initiator for found in s.san.sessions(volume.iqn)] == [host.initiator]
        vm.destroy(host)
        s.wait_clean()
    vm.check_data(s.san)
