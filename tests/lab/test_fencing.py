"""One writer between two hosts: a VM runs on the first, and the target refuses the second.

The rows share that VM, which each of them leaves running.
"""

import contextlib
from collections.abc import Iterator

import pytest

from tests.lab import CommandFailed, intruder, machine, observe, reservations, trap, wait_for
from tests.lab.shared_vm import Resident
from tests.lab.stage import Stage
from tests.lab.vm import Vm

SECONDS = 60
TYPE = "Write Exclusive Access, Registrants Only"


@pytest.fixture(scope="module")
def stage(installed: Stage) -> Stage:
    return installed.fenced()


@pytest.fixture(scope="module")
def shared(stage: Stage) -> Iterator[Resident]:
    resident = Resident(stage)
    yield resident
    resident.close()


@pytest.fixture
def vm(shared: Resident, stage: Stage, failed) -> Iterator[Vm]:
    """The VM on the first host, defined on the second too; it must have written on afterwards."""
    vm = shared.open()
    here, there = stage.kvms[:2]
    stage.define_also(vm, there)
    yield vm
    if failed():
        shared.lost()
        return
    assert vm.state(here) == "running"
    vm.wait_writes(here)
    reservations.wait_holder(stage.san, vm.volumes[0], here)


def test_the_second_host_is_refused(vm: Vm, stage: Stage) -> None:
    """It is told who holds the LUN; so is another VM that has the same LUN."""
    here, there = stage.kvms[:2]
    told = vm.refused(there)
    assert here.initiator in told and "kvmlun takeover" in told, told
    there.run(["virsh", "define", "/dev/stdin"], input=stage.twin(vm, "vm2"))
    again = there.run(["virsh", "start", "vm2"], check=False)
    assert here.initiator in again.err, again.err
    there.run(["virsh", "undefine", "vm2"])
    held = reservations.wait_holder(stage.san, vm.volumes[0], here)
    assert held.type == TYPE and held.kept
    assert reservations.left(stage.san, [here]), "what wait_clean() would find"
    stage.wait_clean(there)


def test_dd_from_the_second_host(vm: Vm, stage: Stage) -> None:
    """No kvmlun, no libvirt: the write fails, and has changed nothing."""
    place = intruder.OFFSET, intruder.LENGTH
    before = stage.san.read(vm.volumes[0], *place)
    with intruder.logged_in(stage.kvms[1], vm.volumes[0]) as stranger:
        assert intruder.CONFLICT in stranger.write()
    assert stage.san.read(vm.volumes[0], *place) == before


def test_kvmlund_killed(kvmlun, vm: Vm, stage: Stage) -> None:
    held = reservations.look(stage.san, vm.volumes[0])
    stage.kvms[0].kill_daemon("kvmlund")
    wait_for("kvmlund", lambda: stage.kvms[0].run("kvmlun status", check=False).rc == 0, 30)
    assert stage.kvms[0].initiator in vm.refused(stage.kvms[1])
    assert reservations.look(stage.san, vm.volumes[0]) == held


def test_status(kvmlun, vm: Vm, stage: Stage) -> None:
    """It asks the target."""
    held = reservations.look(stage.san, vm.volumes[0])
    assert held.holder
    (found,) = observe.status(stage.kvms[0])["reservations"]
    assert found["wwid"] == vm.volumes[0].wwid
    assert found["holder"] == stage.kvms[0].initiator
    assert int(found["holder_key"], 16) == held.holder.key
    assert found["here"] and found["fencing"] and found["phase"] == "holder"
    assert found["can"] == "type 5, kept over a restart"
    assert "this host (target: type 5" in stage.kvms[0].run("kvmlun status").out


@pytest.mark.campaign
def test_a_cloned_initiator_name(kvmlun, vm: Vm, stage: Stage) -> None:
    """The target can't tell the two hosts apart; the keys can."""
    here, there = stage.kvms[:2]
    with renamed(there, here.initiator):
        told = vm.refused(there)
    assert "InitiatorName" in told or "initiator name" in told, told
    stage.wait_clean(there)


@contextlib.contextmanager
def renamed(host: machine.Machine, initiator: str) -> Iterator[None]:
    file = "/etc/iscsi/initiatorname.iscsi"

    def name(initiator: str) -> None:
        host.put(f"InitiatorName={initiator}\n".encode(), file)
        host.run("systemctl restart iscsid kvmlund")

    before = host.initiator
    name(initiator)
    try:
        yield
    finally:
        name(before)


def test_a_permit_that_nobody_followed(kvmlun, vm: Vm, stage: Stage) -> None:
    """A migration that ends at `migrate` gives no host the right to start the VM."""
    here, there = stage.kvms[:2]
    with trap.fails_at(there, "migrate"), pytest.raises(CommandFailed):
        vm.migrate(here, there)
    told = vm.refused(there)
    assert here.initiator in told, told
    stage.wait_clean(there)


# a target that restarts


def test_a_target_restart(kvmlun, vm: Vm, stage: Stage) -> None:
    """With APTPL it knows the holder again as soon as that has logged in."""
    held = reservations.look(stage.san, vm.volumes[0])
    stage.san.restart(vm.volumes[0])
    again = reservations.wait_holder(stage.san, vm.volumes[0], stage.kvms[0])
    assert again.holder == held.holder and again.kept


def test_a_target_that_forgets(kvmlun, vm: Vm, stage: Stage) -> None:
    """Without it the VM is suspended, and goes on once it has won the LUN again."""
    stage.san.restart(vm.volumes[0], forget=True)
    again = reservations.wait_holder(stage.san, vm.volumes[0], stage.kvms[0])
    assert again.type == TYPE and again.kept
    suspended = "is suspended until this host holds .*: the target has lost the reservation"
    stage.kvms[0].run(f"journalctl -u kvmlund -o cat --since -1min | grep '{suspended}'")
    wait_for("the VM", lambda: vm.state(stage.kvms[0]) == "running", SECONDS)
