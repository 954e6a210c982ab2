"""Fencing on a LUN with two portals: the key is on every path that the guest may write by."""

import pytest

from tests.lab import reservations, san, wait_for
from tests.lab.machine import Machine
from tests.lab.migration import begin, hurry
from tests.lab.stage import Stage
from tests.lab.test_multipath import active
from tests.lab.vm import Vm

pytestmark = pytest.mark.campaign
ONLY_KVMLUN = "the naive hook knows one portal, and fences nothing"


@pytest.fixture
def volume(s: Stage) -> san.Volume:
    return s.volume("vm1", portals=s.san.portals())


@pytest.fixture
def vm(s: Stage, volume: san.Volume) -> Vm:
    return s.fenced().vm("vm1", [volume])


def wait_keys(s: Stage, volume: san.Volume, host: Machine, paths: int) -> None:
    """Wait until this host alone is registered, by so many paths."""
    wait_for(
        f"{paths} keys",
        lambda: len(reservations.wait_holder(s.san, volume, host).registrants) == paths,
        90,
    )


def writes_by_each_path(vm: Vm, host: Machine) -> None:
    for network in ("san_a", "san_b"):
        wait_for("both paths", lambda: active(host) == 2, 90)
        with host.cut(network):
            wait_for("one path", lambda: active(host) == 1, 60)
            vm.wait_writes(host)
    wait_for("both paths", lambda: active(host) == 2, 90)
    vm.wait_writes(host)
    assert vm.state(host) == "running"


def ends_clean(s: Stage, vm: Vm, host: Machine) -> None:
    vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)


def test_there_and_back(s: Stage, volume: san.Volume, vm: Vm) -> None:
    one, two = s.kvms[:2]
    vm.start(one)
    for source, destination in ((one, two), (two, one)):
        wait_keys(s, volume, source, 2)
        vm.migrate(source, destination)
        wait_keys(s, volume, destination, 2)
        writes_by_each_path(vm, destination)
        s.wait_clean(source)
    ends_clean(s, vm, one)


def test_a_path_joins_late(s: Stage, volume: san.Volume, vm: Vm) -> None:
    host = s.kvms[0]
    with host.cut("san_b"):
        vm.start(host)
        wait_keys(s, volume, host, 1)
    wait_keys(s, volume, host, 2)
    writes_by_each_path(vm, host)
    ends_clean(s, vm, host)


def test_a_path_of_the_destination_joins_late(s: Stage, volume: san.Volume, vm: Vm) -> None:
    """It is away from before the migration until the guest has arrived by the other one."""
    one, two = s.kvms[:2]
    vm.start(one)
    with two.cut("san_b"):
        vm.migrate(one, two)
        wait_keys(s, volume, two, 1)
        s.wait_clean(one)
    wait_keys(s, volume, two, 2)
    writes_by_each_path(vm, two)
    ends_clean(s, vm, two)


def test_a_path_cut_at_both_ends_while_memory_is_copied(
    s: Stage, volume: san.Volume, vm: Vm
) -> None:
    """What was registered at `started` by a path that is away now is still there afterwards."""
    one, two = s.kvms[:2]
    vm.start(one)
    running = begin(vm, one, two)
    with one.cut("san_a"), two.cut("san_a"):
        for host in (one, two):
            wait_for("one path", lambda host=host: active(host) == 1, 60)
        hurry(vm, one)
        assert running.wait(240).rc == 0, running.err
        vm.wait_writes(two)
    wait_keys(s, volume, two, 2)
    writes_by_each_path(vm, two)
    s.wait_clean(one)
    ends_clean(s, vm, two)


def test_the_loser_writes_by_no_path(s: Stage, volume: san.Volume, vm: Vm) -> None:
    """Taken over while one path of the old host is away: it comes back without a key."""
    one, two = s.kvms[:2]
    vm.start(one)
    wait_keys(s, volume, one, 2)
    two.run(["virsh", "define", "/dev/stdin"], input=one.run(f"virsh dumpxml {vm.uuid}").out)
    s.peer.know(two, "vm1", [volume], fencing=True)
    with one.cut("san_b"):
        wait_for("one path", lambda: active(one) == 1, 60)
        two.run("kvmlun takeover vm1 --yes", timeout=120)
        vm.start(two)
    wait_for("both paths", lambda: active(one) == 2, 90)
    written = vm.reported(one)
    vm.wait_writes(two, 60)
    assert vm.reported(one) == written and vm.state(one) == "paused"
    wait_keys(s, volume, two, 2)
    vm.destroy(one)
    ends_clean(s, vm, two)
