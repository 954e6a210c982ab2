"""Cold start with nothing logged in, and every way a VM ends on one host."""

import pytest

from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host


def only_our_lun(s: Stage, host, volume) -> None:
    """One session, one disk, the links of that LUN, one node record; nothing on the other host."""
    state, *others = s.states()
    assert state.host == host.name
    assert state.targets == [volume.iqn]
    (disk,) = state.disks
    assert state.disks[disk]["wwid"] == volume.wwid
    assert state.links[volume.by_id] == state.links[volume.by_path()] == disk
    assert len(state.records) == 1
    assert all(other.is_clean for other in others)


def test_start_by_id_then_shutdown(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    vm = s.vm("vm1", [volume])
    assert all(state.is_clean for state in s.states())
    vm.start(host)
    only_our_lun(s, host, volume)
    vm.shutdown(host)
    s.wait_clean()
    vm.check_data(s.san)


def test_start_by_path_then_destroy(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    vm = s.vm("vm1", [volume], by_path=True, known_on=[])
    vm.start(host)
    only_our_lun(s, host, volume)
    vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)


def test_guest_crash(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    vm = s.vm("vm1", [volume])
    vm.start(host)
    vm.command(host, "panic")
    s.wait_clean()
    assert vm.state(host) in ("shut off", "crashed")
    vm.check_data(s.san)


@pytest.mark.campaign
def test_guest_reboot_keeps_the_session(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    vm = s.vm("vm1", [volume])
    vm.start(host)
    before = s.states()[0].sessions
    vm.command(host, "reboot")
    vm.wait_console(host, "^GUEST-UP", times=2)
    vm.wait_writes(host)
    assert s.states()[0].sessions == before
    vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)


def test_two_vms_on_one_target(s: Stage) -> None:
    host = s.kvms[0]
    first, second = s.volume("both", lun=0), s.volume("both", lun=1)
    one, two = s.vm("vm1", [first]), s.vm("vm2", [second])
    one.start(host)
    two.start(host)
    assert len(s.states()[0].sessions) == 1
    one.destroy(host)
    two.wait_writes(host)
    two.destroy(host)
    s.wait_clean()
    one.check_data(s.san)
    two.check_data(s.san)


def test_three_luns_on_two_targets(s: Stage) -> None:
    host = s.kvms[0]
    volumes = [s.volume("a", lun=0), s.volume("a", lun=1), s.volume("b")]
    vm = s.vm("vm1", volumes)
    vm.start(host)
    state = s.states()[0]
    assert state.targets == sorted({volume.iqn for volume in volumes})
    assert {disk["wwid"] for disk in state.disks.values()} == {v.wwid for v in volumes}
    vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)
