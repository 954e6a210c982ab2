"""What QEMU may open."""

import pytest

from tests.lab import CommandFailed
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host


def refused(vm, host) -> str:
    """Return virsh's text for a start that must be refused."""
    with pytest.raises(CommandFailed) as caught:
        vm.start(host, writing=False)
    told = caught.value.err.strip()
    assert len(told.splitlines()) == 2  # virsh's own "Failed to start domain", then the reason
    return told


def test_another_disk_behind_the_same_name(s: Stage) -> None:
    """The array was renumbered: same IQN, same LUN, other content (as in CVE-2023-2088)."""
    host, volume = s.kvms[0], s.volume("vm1")
    vm = s.vm("vm1", [volume], by_path=True)
    other = s.san.swap(volume)
    assert other.wwid != volume.wwid
    told = refused(vm, host)
    assert volume.wwid in told and other.wwid in told
    s.wait_clean()


def test_the_disk_that_took_the_place_of_an_idle_one(s: Stage) -> None:
    """Its device is still there, and with it the links of the one before: found anew."""
    if s.peer.name != "kvmlun":
        pytest.skip("the naive hook leaves no device behind")
    host, volume = s.kvms[0], s.volume("vm1")
    s.peer.configure(host, grace=60)
    vm = s.vm("vm1", [volume])
    vm.start(host)
    vm.destroy(host)
    other = s.san.swap(volume)
    s.peer.know(host, "vm1", [])
    second = s.vm("vm2", [other])
    second.start(host)
    second.wait_writes(host)
    second.destroy(host)
    second.check_data(s.san)


def test_a_second_vm_on_the_same_lun(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    first = s.vm("vm1", [volume])
    second = s.vm("vm2", [volume], by_path=True, known_on=[])
    first.start(host)
    assert "vm1" in refused(second, host)
    first.wait_writes(host)
    first.destroy(host)
    s.wait_clean()
    first.check_data(s.san)
