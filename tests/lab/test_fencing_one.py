"""What one host reserves, when, and that it leaves nothing on the target."""

import pytest

from tests.lab import CommandFailed, guest, intruder, reservations, san, wait_for
from tests.lab.stage import Stage
from tests.lab.vm import Vm

pytestmark = pytest.mark.one_host

KEY = 0xC1D2
SECONDS = 60
LUN = """\
<disk type='block' device='lun'>
  <driver name='qemu' type='raw' cache='none'/>
  <source dev='{link}'><reservations managed='yes'/></source>
  <target dev='sda' bus='scsi'/>
</disk>
<controller type='scsi' model='virtio-scsi'/>
"""


@pytest.fixture
def s(s: Stage) -> Stage:
    return s.fenced()


def ends(s: Stage, vm: Vm) -> None:
    vm.destroy(s.kvms[0])
    s.wait_clean()
    vm.check_data(s.san)


# what is reserved


def test_start_and_stop(s: Stage) -> None:
    """All LUNs of a VM, under a key each, and nothing afterwards."""
    host = s.kvms[0]
    vm = s.vm("vm1", [s.volume("vm1", lun=0), s.volume("vm1", lun=1)])
    vm.start(host)
    held = [reservations.wait_holder(s.san, volume, host) for volume in vm.volumes]
    assert all(one.kept and len(one.registrants) == 1 for one in held)
    assert len(reservations.left(s.san, [host])) == 2
    ends(s, vm)


def test_turned_on_for_all_and_off_again(s: Stage, kvmlun) -> None:
    """Under a running VM of no catalog."""
    host = s.kvms[0]
    vm = s.vm("vm1", [s.volume("vm1")], by_path=True, known_on=[])
    vm.start(host)
    assert not reservations.look(s.san, vm.volumes[0]).registrants
    s.peer.configure(host, fencing=True)
    held = reservations.wait_holder(s.san, vm.volumes[0], host)
    vm.wait_writes(host)
    told = host.run("kvmlun events --vm vm1 -n 20").out
    assert told.index("vm1 is suspended until this host holds") < told.index("vm1 goes on")
    s.peer.configure(host, fencing=False)
    wait_for(
        "the LUN let go", lambda: not reservations.look(s.san, vm.volumes[0]).registrants, SECONDS
    )
    assert vm.state(host) == "running" and held.kept
    vm.wait_writes(host)
    ends(s, vm)


def test_disks_that_are_the_guests_own_to_reserve(s: Stage, kvmlun) -> None:
    """<shareable/>, <readonly/>, device='lun': a reservation that guests made there stays."""
    host = s.kvms[0]
    own, *others = s.volumes("vm1", [64 << 20] * 4)
    vm = s.vm("vm1", [own])
    s.know(host, vm.name, [own, *others])
    shared, read_only, passed = (volume.by_path() for volume in others)
    disks = guest.disk_xml(guest.Disk(shared, "vdb", extra="<shareable/>"))
    disks += guest.disk_xml(guest.Disk(read_only, "vdc", extra="<readonly/>"))
    disks += LUN.format(link=passed)
    xml = vm.xml().replace("<serial type='file'>", f"{disks}<serial type='file'>", 1)
    host.run(["virsh", "define", "/dev/stdin"], input=xml)
    vm.start(host)
    reservations.wait_holder(s.san, own, host)
    before = [reserve_as_guest(s, volume) for volume in others]
    host.run("systemctl restart kvmlund")
    s.another_comes_and_goes()
    assert [reservations.look(s.san, volume) for volume in others] == before
    for volume in others:
        guests(s, volume, f"--out --clear --param-rk={KEY:#x}")
    ends(s, vm)


def reserve_as_guest(s: Stage, volume: san.Volume) -> reservations.Reservation:
    """As a guest with its own SCSI commands does, by the host's session."""
    assert not reservations.look(s.san, volume).registrants
    guests(s, volume, f"--out --register --param-sark={KEY:#x}")
    guests(s, volume, f"--out --reserve --param-rk={KEY:#x} --prout-type=5")
    made = reservations.look(s.san, volume)
    assert made.holder and made.holder.key == KEY
    return made


def guests(s: Stage, volume: san.Volume, arguments: str) -> None:
    done = intruder.Intruder(s.kvms[0], volume).persist(arguments)
    assert done.rc == 0, done.err


def test_a_target_without_reservations(s: Stage, kvmlun) -> None:
    """Refused where fencing was asked for; where it is off by word the VM starts."""
    host = s.kvms[0]
    volume = s.san.create(f"{s.base}:vm1", attributes={"emulate_pr": 0})
    vm = s.vm("vm1", [volume])
    with pytest.raises(CommandFailed) as refused:
        vm.start(host, writing=False)
    assert "its target has no persistent reservations" in refused.value.err
    s.wait_clean()
    s.peer.know(host, "vm1", [volume], fencing=False)
    vm.start(host)
    ends(s, vm)


@pytest.mark.campaign
def test_a_lun_that_is_attached_and_detached(s: Stage, kvmlun) -> None:
    """No hook says so: it is seen, reserved, and let go."""
    host, more = s.kvms[0], s.volume("more")
    vm = s.vm("vm1", [s.volume("vm1")])
    vm.start(host)
    s.attach(vm, more)
    reservations.wait_holder(s.san, more, host)
    host.run(["virsh", "detach-disk", vm.uuid, "vdb", "--live"])
    wait_for("the LUN let go", lambda: not reservations.look(s.san, more).registrants, SECONDS)
    reservations.wait_holder(s.san, vm.volumes[0], host)
    ends(s, vm)


# what was left


def test_a_session_that_was_ended_by_hand(s: Stage, kvmlun) -> None:
    """The next one has another ISID: what the old one had registered is ours, and goes."""
    host = s.kvms[0]
    vm = s.vm("vm1", [s.volume("vm1")])
    vm.start(host)
    before = reservations.wait_holder(s.san, vm.volumes[0], host)
    host.run("systemctl stop kvmlund.socket kvmlund")
    vm.destroy(host)
    host.run("iscsiadm -m session --logout")
    assert reservations.look(s.san, vm.volumes[0]) == before
    host.run("rm -f /run/kvmlun/keys/*; systemctl start kvmlund.socket kvmlund")
    vm.start(host)
    after = reservations.wait_holder(s.san, vm.volumes[0], host)
    assert len(after.registrants) == 1 and after.holder != before.holder
    ends(s, vm)


@pytest.mark.campaign
def test_kvmlund_away_while_a_vm_stops(s: Stage, kvmlun) -> None:
    host = s.kvms[0]
    vm = s.vm("vm1", [s.volume("vm1")])
    vm.start(host)
    host.run("systemctl stop kvmlund.socket kvmlund")
    vm.destroy(host)
    assert reservations.left(s.san, [host])
    host.run("systemctl start kvmlund.socket kvmlund")
    s.wait_clean()
    vm.check_data(s.san)


# kvmlund killed while a VM starts


KILL = {
    "login": 'test -n "$(ls /sys/class/iscsi_session 2>/dev/null)"',
    "key": "ls /run/kvmlun/keys/*.json >/dev/null 2>&1",
}


def start_with_kvmlund_killed(s: Stage, vm: Vm, when: str) -> None:
    """Kill it as soon as the condition holds; the hook asks the next one, which goes on."""
    host = s.kvms[0]
    pid = host.main_pid("kvmlund")
    killer = host.spawn(f"until {when}; do :; done; kill -9 {pid}")
    host.run(["virsh", "start", "--paused", vm.uuid], timeout=120)
    assert killer.wait(30).rc == 0
    held = reservations.wait_holder(s.san, vm.volumes[0], host)
    assert len(held.registrants) == 1
    assert host.main_pid("kvmlund") != pid


@pytest.mark.parametrize("step", [pytest.param("login", marks=pytest.mark.campaign), "key"])
def test_kvmlund_killed_while_a_vm_starts(s: Stage, kvmlun, step: str) -> None:
    host = s.kvms[0]
    vm = s.vm("vm1", [s.volume("vm1")])
    start_with_kvmlund_killed(s, vm, KILL[step])
    host.run(["virsh", "resume", vm.uuid])
    vm.wait_writes(host)
    ends(s, vm)


@pytest.mark.campaign
def test_kvmlund_killed_at_any_moment_of_a_start(s: Stage, kvmlun) -> None:
    """Each 100 ms from the login on, whatever it is doing."""
    host = s.kvms[0]
    vm = s.vm("vm1", [s.volume("vm1")])
    for step in range(8):
        moment = f"{KILL['login']} && sleep {step / 10}"
        start_with_kvmlund_killed(s, vm, moment)
        vm.destroy(host)
        s.wait_clean()
    s.comes_and_goes(vm)
