"""The host leaves a guest's data alone: what the guest put there is neither used nor changed."""

import pytest

from tests.lab import hands, own, signatures, wait_for
from tests.lab.machine import Machine
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host

BOOT_SECONDS = 180


@pytest.fixture
def host(s: Stage) -> Machine:
    return s.kvms[0]


def test_every_signature(s: Stage, host: Machine, things: own.Things) -> None:
    disks = signatures.make(s, things)
    host.run(f"multipath -a {disks.listed}")
    before, _ = hands.look(host, disks.all)
    vm = s.vm("vm1", disks.all, offset=signatures.OFFSET, writes_to=1)
    vm.start(host)
    hands.check_off(host, disks.all, before)
    vm.destroy(host)
    host.run(f"multipath -w {disks.listed}")
    s.wait_clean()
    vm.check_data(s.san)
    assert disks.sums == disks.now(s.san)


@pytest.mark.campaign
def test_signatures_in_maps(s: Stage, host: Machine, things: own.Things) -> None:
    names = ("lvm", "known-md", "md", "ext4", "gpt")
    disks = signatures.make(s, things, names, portals=s.san.portals())
    before, _ = hands.look(host, disks.all)
    vm = s.vm("vm1", disks.all, offset=signatures.OFFSET, writes_to=1)
    vm.start(host)
    assert len(s.states()[0].maps) == len(disks.all)
    hands.check_off(host, disks.all, before)
    vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)
    assert disks.sums == disks.now(s.san)


@pytest.mark.campaign
def test_reboot_with_the_vm_on_autostart(s: Stage, host: Machine, things: own.Things) -> None:
    """The host's own array and volume group come up by themselves, and nothing of the guest's."""
    disks = signatures.make(s, things)
    host.run(f"multipath -a {disks.listed}")
    host.reboot()
    before, _ = hands.look(host, disks.all)
    vm = s.vm("vm1", disks.all, offset=signatures.OFFSET, writes_to=1)
    host.run(["virsh", "autostart", vm.uuid])
    host.reboot()
    wait_for("vm1", lambda: vm.is_running(host), BOOT_SECONDS)
    vm.wait_writes(host)
    hands.check_off(host, disks.all, before)
    assert [things.vg in before["lvs"], "md127 : active" in before["mdstat"]] == [True, True]
    vm.destroy(host)
    host.run(f"multipath -w {disks.listed}")
    s.wait_clean()
    vm.check_data(s.san)
    assert disks.sums == disks.now(s.san)
