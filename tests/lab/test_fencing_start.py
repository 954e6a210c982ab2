"""A VM that may start on either of two hosts: one may write, the other is told who that is."""

import pytest

from tests.lab import intruder, machine, remote, reservations, trap, wait_for
from tests.lab.stage import Stage
from tests.lab.vm import BOOT_SECONDS, Vm

SECONDS = 60


@pytest.fixture
def s(s: Stage) -> Stage:
    return s.fenced()


def both_start(s: Stage, vm: Vm) -> dict[machine.Machine, remote.Spawned]:
    """Start it on both hosts at the same moment; they have one clock."""
    moment = float(s.kvms[0].run("date +%s.%N").out) + 0.5
    wait = f"while [[ ${{EPOCHREALTIME/./}} < {moment * 1e6:.0f} ]]; do :; done"
    return {host: host.spawn(f"{wait}; virsh start {vm.uuid}") for host in s.kvms[:2]}


def the_winner(
    s: Stage, vm: Vm, starts: dict[machine.Machine, remote.Spawned], result: int | None
) -> machine.Machine:
    """Return the one host whose start came to this result; the other was told its name."""
    won = [host for host, start in starts.items() if start.poll() == result]
    assert len(won) == 1, [start.err for start in starts.values()]
    held = reservations.wait_holder(s.san, vm.volumes[0], won[0])
    (told,) = [start.err for host, start in starts.items() if host not in won]
    assert held.holder and held.holder.initiator in told, told
    return won[0]


def test_prepared_at_the_same_moment(s: Stage, round_trips: int) -> None:
    """With libvirt's hooks, and no QEMU: 10 times in CI, 100 times in the campaign."""
    vm = s.vm("vm1", [s.volume("vm1")])
    s.define_also(vm, s.kvms[1])
    with trap.held_in_vain_at(s.kvms[0], "start"), trap.held_in_vain_at(s.kvms[1], "start"):
        for _ in range(5 * round_trips):
            starts = both_start(s, vm)
            wait_for(
                "both hooks",
                lambda: all(trap.is_held(h) or p.poll() is not None for h, p in starts.items()),
                SECONDS,
            )
            trap.let_go(the_winner(s, vm, starts, None))
            for start in starts.values():
                start.wait()
            wait_for(
                "the LUN let go",
                lambda: not reservations.look(s.san, vm.volumes[0]).registrants,
                SECONDS,
            )
    s.wait_clean()


def test_started_at_the_same_moment(s: Stage, round_trips: int) -> None:
    """With its guest: once in CI, five times in the campaign."""
    vm = s.vm("vm1", [s.volume("vm1")])
    s.define_also(vm, s.kvms[1])
    for _ in range(max(1, round_trips // 4)):
        starts = both_start(s, vm)
        for start in starts.values():
            start.wait(BOOT_SECONDS)
        won = the_winner(s, vm, starts, 0)
        vm.wait_writes(won)
        vm.destroy(won)
        s.wait_clean()
        vm.check_data(s.san)


@pytest.mark.campaign
def test_a_registrant_that_holds_nothing(s: Stage, kvmlun) -> None:
    """As a migration's destination without kvmlund: it may write, so nobody else starts."""
    here, there = s.kvms[:2]
    vm = s.vm("vm1", [s.volume("vm1")])
    with intruder.logged_in(there, vm.volumes[0]) as stranger:
        assert stranger.persist("--out --register --param-sark=0xbeef").rc == 0
        assert there.initiator in vm.refused(here)
        assert stranger.write() == ""
        assert stranger.persist("--out --register --param-rk=0xbeef").rc == 0
        vm.start(here)
        assert intruder.CONFLICT in stranger.write()
    vm.destroy(here)
    s.wait_clean()
    vm.check_data(s.san)


@pytest.mark.campaign
def test_one_of_two_luns_is_held_elsewhere(s: Stage, kvmlun) -> None:
    """All or nothing: what was reserved before the refusal is let go."""
    here, there = s.kvms[:2]
    first, second = s.volume("vm1", lun=0), s.volume("vm1", lun=1)
    one, two = s.vm("vm1", [second]), s.vm("vm2", [first, second], known_on=[there])
    s.define_also(two, there)
    one.start(here)
    assert here.initiator in two.refused(there)
    s.wait_clean(there)
    assert not reservations.look(s.san, first).registrants
    one.destroy(here)
    s.wait_clean()
    one.check_data(s.san)


@pytest.mark.campaign
def test_a_target_that_can_keep_no_registration(s: Stage, kvmlun) -> None:
    """LIO without its folder: no start, and where fencing is turned on the VM runs on as it did."""
    host = s.kvms[0]
    vm = s.vm("vm1", [s.volume("vm1")], by_path=True, known_on=[])
    other = s.vm("vm2", [s.volume("vm2")])
    vm.start(host)
    s.san.host.run("rm -r /etc/rtslib-fb-target/pr")
    assert "make the folder pr" in other.refused(host)
    s.know(host, vm.name, vm.volumes)
    wait_for("the reason", lambda: "make the folder pr" in host.run("kvmlun status").out, SECONDS)
    vm.wait_writes(host)
    assert vm.state(host) == "running"
    for volume in (*vm.volumes, *other.volumes):
        assert not reservations.look(s.san, volume).registrants
    s.san.host.run("mkdir /etc/rtslib-fb-target/pr")
    host.run("systemctl reload kvmlund")
    reservations.wait_holder(s.san, vm.volumes[0], host)
    vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)


@pytest.mark.campaign
def test_an_offline_migration(s: Stage) -> None:
    """It moves a definition, and with it nobody's right to write."""
    here, there = s.kvms[:2]
    vm = s.vm("vm1", [s.volume("vm1")])
    s.know(there, vm.name, vm.volumes)
    vm.migrate(here, there, "--offline --persistent")
    vm.start(here)
    assert here.initiator in vm.refused(there)
    vm.wait_writes(here)
    vm.destroy(here)
    s.wait_clean()
    vm.check_data(s.san)


@pytest.mark.campaign
def test_save_and_restore_on_the_other_host(s: Stage) -> None:
    """Which knows from the VM's metadata alone that its LUN is fenced."""
    here, there = s.kvms[:2]
    vm = s.vm("vm1", [s.volume("vm1")])
    vm.start(here)
    file = "/var/tmp/vm1.saved"
    here.run(["virsh", "save", vm.uuid, file], timeout=120)
    here.run(f"scp -q {file} {there.name}:{file} && rm {file}", timeout=120)
    there.run(["virsh", "restore", file], timeout=120)
    there.run(["rm", file])
    reservations.wait_holder(s.san, vm.volumes[0], there)
    vm.wait_writes(there)
    assert there.initiator in vm.refused(here)
    vm.destroy(there)
    s.wait_clean()
    vm.check_data(s.san)
