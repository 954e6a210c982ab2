"""A host that is dead, or seems to be: its VM is taken over, and what it still does is nothing."""

import pytest

from tests.lab import CommandFailed, machine, observe, remote, reservations, wait_for
from tests.lab.stage import Stage
from tests.lab.vm import BOOT_SECONDS, Vm

ONLY_KVMLUN = "only kvmlun has a command to take over"

SECONDS = 60


@pytest.fixture
def s(s: Stage) -> Stage:
    return s.fenced()


@pytest.fixture
def vm(s: Stage) -> Vm:
    """It runs on the first host and may be started on the second."""
    made = s.vm("vm1", [s.volume("vm1")])
    s.define_also(made, s.kvms[1])
    made.start(s.kvms[0])
    return made


def take_over(vm: Vm, host: machine.Machine, yes: str = "--yes") -> remote.Result:
    return host.run(f"kvmlun takeover {vm.name} {yes}", check=False)


def test_a_frozen_host(s: Stage, vm: Vm) -> None:
    """Its VM is taken over; thawed, it can't write any more and says why."""
    here, there = s.kvms[:2]
    here.freeze()
    try:
        assert here.initiator in vm.refused(there)
        unsure = take_over(vm, there, yes="")
        assert unsure.rc != 0 and here.initiator in unsure.out + unsure.err
        assert not observe.users(there, vm.volumes[0].wwid)
        assert here.initiator in vm.refused(there)
        done = take_over(vm, there)
        assert done.rc == 0, done.err
        reservations.wait_holder(s.san, vm.volumes[0], there)
        there.run("journalctl -u kvmlund -o cat --since -1min | grep 'taken over for vm1'")
        vm.start(there)
    finally:
        here.thaw()
    is_suspended(vm, here)
    vm.wait_writes(there)
    cleaned_up(s, vm, here, there)


def is_suspended(vm: Vm, host: machine.Machine) -> None:
    """The VM must stand still there and the host say why."""
    wait_for("the VM to be suspended", lambda: vm.state(host) == "paused", SECONDS)
    wait_for("the reason", lambda: vm.name in why_not(host), SECONDS)


def why_not(host: machine.Machine) -> str:
    return "\n".join(observe.status(host)["fencing_problems"])


def cleaned_up(s: Stage, vm: Vm, lost: machine.Machine, won: machine.Machine) -> None:
    """One command on the host that lost the VM; nobody else notices."""
    vm.destroy(lost)
    s.wait_clean(lost)
    reservations.wait_holder(s.san, vm.volumes[0], won)
    vm.wait_writes(won)
    vm.destroy(won)
    s.wait_clean()
    vm.check_data(s.san, outrun=lost)


@pytest.mark.campaign
def test_a_host_without_its_san(s: Stage, vm: Vm) -> None:
    """It is alive, and what its guest wants to write waits for the session; then it fails."""
    here, there = s.kvms[:2]
    with here.cut("san_a"):
        assert take_over(vm, there).rc == 0
        vm.start(there)
    is_suspended(vm, here)
    cleaned_up(s, vm, here, there)


@pytest.mark.campaign
def test_what_was_lost_stays_lost(s: Stage, vm: Vm) -> None:
    """Whether somebody resumes or moves it, and also when the new host does not run it any more."""
    here, there = s.kvms[:2]
    assert take_over(vm, there).rc == 0
    vm.start(there)
    is_suspended(vm, here)
    here.run(["virsh", "resume", vm.uuid])
    is_suspended(vm, here)
    vm.wait_writes(there)
    vm.destroy(there)
    s.wait_clean(there)
    with pytest.raises(CommandFailed):
        vm.migrate(here, there)
    here.run("systemctl restart kvmlund")
    is_suspended(vm, here)
    vm.destroy(here)
    s.wait_clean()
    vm.check_data(s.san, outrun=here)


@pytest.mark.campaign
def test_a_power_cut_and_autostart(s: Stage, vm: Vm) -> None:
    """The host boots again and would start the VM that runs elsewhere now."""
    here, there = s.kvms[:2]
    here.run(["virsh", "autostart", vm.uuid])
    here.run("sync")  # else the cut takes what the console said
    here.kill()
    assert here.initiator in vm.refused(there)
    assert take_over(vm, there).rc == 0
    there.run("systemctl restart kvmlund")
    reservations.wait_holder(s.san, vm.volumes[0], there)
    vm.start(there)
    here.start()
    journal = f"journalctl -b -u kvmlund -o cat | grep 'refused.*{there.initiator}'"
    wait_for("the refusal", lambda: here.run(journal, check=False).out, SECONDS)
    assert vm.state(here) == "shut off"
    s.wait_clean(here)
    vm.wait_writes(there)
    vm.destroy(there)
    s.wait_clean()
    vm.check_data(s.san)


@pytest.mark.campaign
def test_a_power_cut_of_the_only_host(s: Stage, vm: Vm) -> None:
    """What it had registered before the cut does not keep it from its own LUN."""
    here = s.kvms[0]
    here.run(["virsh", "autostart", vm.uuid])
    before = reservations.wait_holder(s.san, vm.volumes[0], here)
    here.run("sync")
    here.kill()
    assert reservations.look(s.san, vm.volumes[0]) == before
    here.start()
    wait_for("vm1 again", lambda: vm.is_running(here), BOOT_SECONDS)
    vm.wait_console(here, "^RING-START", times=2)
    vm.wait_writes(here)
    after = reservations.wait_holder(s.san, vm.volumes[0], here)
    assert len(after.registrants) == 1 and after.holder != before.holder
    vm.destroy(here)
    s.wait_clean()
    vm.check_data(s.san)


@pytest.mark.campaign
def test_a_clean_shutdown_of_the_host(s: Stage, vm: Vm) -> None:
    """The VM ends, then its key goes, then its session; nothing is left for the next host."""
    here, there = s.kvms[:2]
    here.poweroff()
    assert reservations.left(s.san, s.kvms) == []
    vm.start(there)
    vm.destroy(there)
    here.start()
    s.wait_clean()
    vm.check_data(s.san)


@pytest.mark.campaign
def test_another_host_wins_while_the_target_forgets(s: Stage, vm: Vm) -> None:
    here, there = s.kvms[:2]
    with here.cut("san_a"):
        s.san.restart(vm.volumes[0], forget=True)
        vm.start(there)
    is_suspended(vm, here)
    cleaned_up(s, vm, here, there)


@pytest.mark.campaign
def test_another_host_has_come_and_gone_while_the_target_forgot(s: Stage, vm: Vm) -> None:
    """Nobody is registered then, and still the guest here knows an old state of its LUN."""
    here, there = s.kvms[:2]
    stands_still(vm, here)
    with here.cut("san_a"):
        s.san.restart(vm.volumes[0], forget=True)
        vm.start(there)
        vm.destroy(there)
        s.wait_clean(there)
    is_suspended(vm, here)
    vm.destroy(here)
    s.wait_clean()
    vm.check_data(s.san, outrun=here)


def stands_still(vm: Vm, host: machine.Machine) -> None:
    """Have nothing in flight, which the kernel sends again before anybody looks."""
    vm.command(host, "stop")
    vm.wait_console(host, "^GUEST-STOPPED")


@pytest.mark.campaign
def test_another_host_wins_before_a_restarted_target_knows_the_holder(s: Stage, vm: Vm) -> None:
    """LIO reads what it kept only when that initiator logs in again, and then has two holders."""
    here, there = s.kvms[:2]
    stands_still(vm, here)
    with here.cut("san_a"):
        s.san.restart(vm.volumes[0])
        vm.start(there)
    is_suspended(vm, here)
    cleaned_up(s, vm, here, there)
