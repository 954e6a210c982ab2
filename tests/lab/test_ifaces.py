"""Logins by the interfaces of open-iscsi that the operator names, and by no other."""

import pytest

from tests.lab import CommandFailed, san, wait_for
from tests.lab.machine import Machine
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "the naive hook knows one interface"

# The hosts' devices in the networks san_a and san_b.
A, B = "vec1", "vec2"


@pytest.fixture
def host(s: Stage) -> Machine:
    """A host that has an interface on each device: two on the first."""
    host, devices = s.kvms[0], {"a0": A, "a1": A, "b0": B}
    for name, device in devices.items():
        iface = f"iscsiadm -m iface -I {name} -o"
        host.run(f"{iface} new && {iface} update -n iface.net_ifacename -v {device}")
    return host


@pytest.fixture
def volume(s: Stage) -> san.Volume:
    return s.volume("vm1")


def ifaces(host: Machine) -> list[str]:
    return sorted(host.run("cat /sys/class/iscsi_session/*/ifacename").out.split())


@pytest.mark.campaign
def test_two_interfaces_are_two_paths(s: Stage, host: Machine, volume: san.Volume) -> None:
    """Both are there again after iscsid was restarted and the network was away."""
    vm = s.vm("vm1", [volume])
    s.peer.know(host, "vm1", [volume], ifaces=["a0", "a1"], min_paths=2)
    vm.start(host)
    (paths,) = s.states()[0].maps.values()
    assert len(paths) == 2 and ifaces(host) == ["a0", "a1"]
    host.run("systemctl restart iscsid")
    with host.cut("san_a"):
        wait_for("both to drop", lambda: up(s) == 0, 60)
    wait_for("both to be back", lambda: up(s) == 2, 90)
    vm.wait_writes(host)
    vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)


def up(s: Stage) -> int:
    return [state for _, state in s.states()[0].sessions.values()].count("LOGGED_IN")


@pytest.mark.campaign
def test_without_multipathd_the_first_interface_is_used(
    s: Stage, host: Machine, volume: san.Volume
) -> None:
    vm = s.vm("vm1", [volume], by_path=True)
    s.peer.know(host, "vm1", [volume], ifaces=["a1", "a0"])
    vm.start(host)
    assert ifaces(host) == ["a1"]
    vm.destroy(host)
    s.wait_clean()


def test_an_interface_decides_the_network(s: Stage, host: Machine, volume: san.Volume) -> None:
    """The portal's own network is away; Linux answers for its address in the other one, too."""
    vm = s.vm("vm1", [volume])
    s.peer.know(host, "vm1", [volume], ifaces=["b0"])
    with host.cut("san_a"):
        vm.start(host)
        assert ifaces(host) == ["b0"]
        vm.destroy(host)
        s.wait_clean()
    vm.check_data(s.san)


def test_an_interface_that_is_not_there(s: Stage, host: Machine, volume: san.Volume) -> None:
    vm = s.vm("vm1", [volume])
    s.peer.know(host, "vm1", [volume], ifaces=["c0"])
    with pytest.raises(CommandFailed) as refused:
        vm.start(host, writing=False)
    told = refused.value.err.strip().splitlines()[-1].partition("kvmlun: ")[2]
    assert told.startswith("volume vm1-0: open-iscsi has no iface c0 ")
    s.wait_clean()
