"""Migrations with fencing on: the storage lets one host write, also where libvirt runs two guests.

The rows of test_migrate_ways and test_migrate_fails run with fencing on as well, in the campaign.
"""

import contextlib
import re
import signal
from collections.abc import Iterator

import pytest

from tests.lab import CommandFailed, guest, observe, reservations, trap, wait_for
from tests.lab.lost_finish import lost_finish, muted, unanswered
from tests.lab.machine import Machine
from tests.lab.migration import before_finish, begin, copied, hurry
from tests.lab.shared_vm import Traveller
from tests.lab.stage import Stage
from tests.lab.vm import LIVE, Vm

# The kernel's words for I/O that the target refused, and that failed otherwise
# (block/blk-core.c, blk_errors).
FAILED_IO = "journalctl -k -b | grep -cE 'critical nexus error|I/O error, dev' || true"
MANAGER = "io.github.kvmlun /io/github/kvmlun io.github.kvmlun.Manager1"
PROBLEMS = f"busctl get-property {MANAGER} FencingProblems"
UNITS = "kvmlund.socket kvmlund.service"


@pytest.fixture(scope="module")
def shared(installed: Stage) -> Iterator[Traveller]:
    traveller = Traveller(installed.fenced())
    yield traveller
    traveller.close()


@pytest.fixture
def traveller(kvmlun: None, shared: Traveller, failed) -> Iterator[Traveller]:
    """The VM that moves; after each row it runs on one host, which alone may write."""
    shared.open()
    shared.held()
    yield shared
    if failed():
        shared.lost()
        return
    shared.vm.wait_writes(shared.here)
    shared.held()
    shared.stage.wait_clean(shared.there)


def failed_io(host: Machine) -> int:
    return int(host.run(FAILED_IO).out)


def lost(vm: Vm, host: Machine) -> str:
    """What kvmlun says of VMs whose LUN another host has, if this one is among them."""
    # Not by `kvmlun status`: to ask that again and again would take the host's one CPU.
    told = host.run(PROBLEMS).out
    return told if f"{vm.name} is suspended: " in told else ""


def preempted(traveller: Traveller) -> int:
    """The destination may write alone now; returns how much the source's console has.

    What follows there is of a guest whose disk is another's: it may read what that one wrote.
    """
    vm, here = traveller.vm, traveller.here
    reservations.wait_holder(traveller.stage.san, vm.volumes[0], traveller.there)
    return int(here.run(["stat", "-c", "%s", console(vm)]).out)


def loser_is_out(traveller: Traveller, length: int) -> None:
    """libvirt runs the source's guest, too: it is stopped, says why, and one command ends it."""
    vm, here, there = traveller.vm, traveller.here, traveller.there
    wait_for("kvmlun's word for it", lambda: lost(vm, here), 60)
    assert vm.state(here) == "paused"
    (why,) = observe.status(here)["fencing_problems"]
    assert why.startswith(f"{vm.name} is suspended: ") and there.initiator in why
    assert f"virsh destroy {vm.name} " in why
    vm.wait_writes(there, 60)
    vm.destroy(here)
    here.run(["virsh", "undefine", vm.uuid])
    tail = here.run(f"tail -c +{length + 1} {console(vm)}").out
    # It may still tell of a write from before, as the other half of it does.
    told = re.findall(r"^RING vda seq=\d+ ", tail, re.M)
    assert len(told) <= 1 and all(line in vm.console(there) for line in told), tail
    here.run(["truncate", f"--size={length}", console(vm)])
    traveller.arrived()


def console(vm: Vm) -> str:
    return guest.CONSOLE.format(name=vm.name)


def test_there_and_back(traveller: Traveller, round_trips: int) -> None:
    """No write of the guest is refused. The second host was told nothing: it is in the metadata."""
    hosts = (traveller.here, traveller.there)
    assert hosts[1].run("ls /etc/kvmlun/volumes.d").out == ""
    before = [failed_io(host) for host in hosts]
    for _ in range(2 * round_trips):
        traveller.move(LIVE)
    assert [failed_io(host) for host in hosts] == before


def test_lost_finish(traveller: Traveller) -> None:
    """The guest goes on at the destination alone, with all it had written."""
    vm, here, there = traveller.vm, traveller.here, traveller.there
    with lost_finish(vm, here, there):
        length = preempted(traveller)
    loser_is_out(traveller, length)


@pytest.mark.campaign
def test_lost_finish_peer_to_peer(traveller: Traveller) -> None:
    """The source's libvirtd calls Finish, and gives up after half a minute."""
    vm, here, there = traveller.vm, traveller.here, traveller.there
    client = begin(vm, here, there, "--p2p")
    with contextlib.ExitStack() as until_given_up:
        with there.frozen("libvirtd"):
            copied(vm, here)
            until_given_up.enter_context(muted(there, here))
        length = preempted(traveller)
        assert client.wait(120).rc != 0
    loser_is_out(traveller, length)


@pytest.mark.campaign
def test_lost_finish_of_a_guest_that_writes_nothing(traveller: Traveller) -> None:
    """No write of its own can show the source's guest that it has lost."""
    vm, here, there = traveller.vm, traveller.here, traveller.there
    vm.command(here, "stop")
    vm.wait_console(here, "^GUEST-STOPPED")
    with lost_finish(vm, here, there):
        length = preempted(traveller)
    wait_for("kvmlun's word for it", lambda: lost(vm, here), 60)
    vm.command(there, "go")
    loser_is_out(traveller, length)


@pytest.mark.campaign
def test_lost_finish_and_the_loser_resumed_by_hand(traveller: Traveller) -> None:
    vm, here, there = traveller.vm, traveller.here, traveller.there
    with lost_finish(vm, here, there):
        length = preempted(traveller)
    wait_for("kvmlun's word for it", lambda: lost(vm, here), 60)
    here.run(["virsh", "resume", vm.uuid])
    wait_for("another stop", lambda: vm.state(here) == "paused", 60)
    loser_is_out(traveller, length)


@pytest.mark.campaign
def test_lost_finish_and_kvmlund_killed(traveller: Traveller) -> None:
    """Between the guest's first moment there and the preempt: it is back before libvirt's client,
    with the half minute it has by default, has given up.
    """
    vm, here, there = traveller.vm, traveller.here, traveller.there
    with (
        before_finish(vm, here, there) as client,
        there.frozen("kvmlund") as pid,
        unanswered(client, vm, here, there),
    ):
        there.run(["kill", "-9", pid])
        length = preempted(traveller)
    loser_is_out(traveller, length)


def test_not_fenced_by_the_destinations_catalog(traveller: Traveller) -> None:
    """A catalog that does not speak of fencing leaves it to the VM's metadata."""
    vm, stage = traveller.vm, traveller.stage
    if traveller.there is stage.kvms[0]:
        traveller.move(LIVE)
    here, there = traveller.here, traveller.there
    stage.peer.know(there, vm.name, vm.volumes, fencing=False)
    with pytest.raises(CommandFailed) as refused:
        vm.migrate(here, there)
    told = refused.value.err.strip()
    assert len(told.splitlines()) == 1 and "vm1-0" in told and "fencing: false" in told
    stage.peer.know(there, vm.name, vm.volumes)
    traveller.move(LIVE)
    stage.peer.know(traveller.here, vm.name, [])


# kvmlund killed at each step, on either side


@pytest.mark.campaign
@pytest.mark.parametrize("seconds", [0, 0.1, 0.4])
@pytest.mark.parametrize("operation", ["migrate", "prepare", "start", "started"])
def test_kvmlund_killed_at_the_destination_in(
    traveller: Traveller, operation: str, seconds: float
) -> None:
    with trap.peer_dies_in(traveller.there, "kvmlund", operation, seconds):
        traveller.vm.migrate(traveller.here, traveller.there)
    traveller.arrived()


@pytest.mark.campaign
@pytest.mark.parametrize("seconds", [0, 0.1, 0.4])
def test_kvmlund_killed_at_the_source_in_release(traveller: Traveller, seconds: float) -> None:
    with trap.peer_dies_in(traveller.here, "kvmlund", "release", seconds):
        traveller.vm.migrate(traveller.here, traveller.there)
    traveller.arrived()


@pytest.mark.campaign
def test_kvmlund_killed_while_memory_is_copied(traveller: Traveller) -> None:
    vm, here, there = traveller.vm, traveller.here, traveller.there
    running = begin(vm, here, there)
    for host in (here, there):
        host.kill_daemon("kvmlund")
    hurry(vm, here)
    assert running.wait(240).rc == 0, running.err
    traveller.arrived()


@pytest.mark.campaign
def test_kvmlund_killed_when_the_guest_arrives(traveller: Traveller) -> None:
    vm, here, there = traveller.vm, traveller.here, traveller.there
    with before_finish(vm, here, there) as client, there.frozen("kvmlund") as pid:
        client.signal(signal.SIGCONT)
        wait_for("the guest there", lambda: vm.state(there) == "running", 60)
        there.run(["kill", "-9", pid])
        assert client.wait(120).rc == 0, client.err
    traveller.arrived()


@pytest.mark.campaign
def test_kvmlund_stopped_until_the_source_has_left(traveller: Traveller) -> None:
    """The source waits for the preempt for its time of grace, and then gives its key up."""
    vm, here, there = traveller.vm, traveller.here, traveller.there
    with before_finish(vm, here, there) as client:
        there.run(f"systemctl stop {UNITS}")
        try:
            client.signal(signal.SIGCONT)
            assert client.wait(120).rc == 0, client.err
            traveller.stage.wait_clean(here)
        finally:
            there.run(f"systemctl start {UNITS}")
    traveller.arrived()


# sessions that drop


@pytest.mark.campaign
@pytest.mark.parametrize("side", ["source", "destination"])
def test_storage_cut_while_memory_is_copied(traveller: Traveller, side: str) -> None:
    vm, here, there = traveller.vm, traveller.here, traveller.there
    running = begin(vm, here, there)
    with_the_storage_cut(here if side == "source" else there)
    hurry(vm, here)
    assert running.wait(240).rc == 0, running.err
    traveller.arrived()


@pytest.mark.campaign
def test_storage_of_the_destination_cut_in_finish(traveller: Traveller) -> None:
    """QEMU opens the disk for writing before its guest goes on, so libvirt waits as well."""
    vm, here, there = traveller.vm, traveller.here, traveller.there
    with before_finish(vm, here, there) as client:
        with there.cut("san_a"):
            client.signal(signal.SIGCONT)
            wait_for("its session's end", lambda: sessions(there) == {"FAILED"}, 60)
        assert client.wait(120).rc == 0, client.err
    traveller.arrived()


@pytest.mark.campaign
@pytest.mark.parametrize("forget", [False, True])
def test_target_restarted_while_memory_is_copied(traveller: Traveller, forget: bool) -> None:
    """With the reservations it was asked to keep, and without."""
    vm, here, there = traveller.vm, traveller.here, traveller.there
    running = begin(vm, here, there)
    traveller.stage.san.restart(vm.volumes[0], forget=forget)
    for host in (here, there):
        wait_for("its session", lambda host=host: sessions(host) == {"LOGGED_IN"}, 60)
    wait_for("the reservation", lambda: holder(traveller) == here.initiator, 60)
    hurry(vm, here)
    assert running.wait(240).rc == 0, running.err
    traveller.arrived()


def holder(traveller: Traveller) -> str:
    found = reservations.look(traveller.stage.san, traveller.vm.volumes[0]).holder
    return found.initiator if found else ""


def sessions(host: Machine) -> set[str]:
    return {state for _, state in observe.observe(host).sessions.values()}


def with_the_storage_cut(host: Machine) -> None:
    """Have a host's session drop and come back."""
    with host.cut("san_a"):
        wait_for("its session's end", lambda: sessions(host) == {"FAILED"}, 60)
    wait_for("its session", lambda: sessions(host) == {"LOGGED_IN"}, 60)
