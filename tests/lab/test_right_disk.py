"""What QEMU may open, and whose sessions are whose."""

import pytest

from tests.lab import CommandFailed, wait_for
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


def test_a_session_made_by_hand_is_borrowed(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    name = f"-T {volume.iqn} -p {volume.portal}"
    host.run(f"iscsiadm -m node {name} -o new && iscsiadm -m node {name} --login")
    vm = s.vm("vm1", [volume])
    before = s.states()[0]
    vm.start(host)
    vm.destroy(host)
    # A second VM's own session comes and goes, so there was time to log out of the first.
    other = s.vm("vm2", [s.volume("vm2")])
    other.start(host, writing=False)
    other.destroy(host)
    wait_for("vm2's session to end", lambda: other.volumes[0].iqn not in s.states()[0].targets, 60)
    after = s.states()[0]
    assert after.sessions == before.sessions and after.records == before.records
    vm.check_data(s.san)
    host.run(f"iscsiadm -m node {name} --logout && iscsiadm -m node {name} -o delete")
    s.wait_clean()
