"""Every way of migrating a VM, there or back; the rows share one VM that writes throughout."""

from collections.abc import Iterator

import pytest

from tests.lab import machine, wait_for
from tests.lab.shared_vm import Traveller
from tests.lab.vm import LIVE, Vm


@pytest.fixture
def traveller(shared_traveller: Traveller, failed) -> Iterator[Traveller]:
    shared_traveller.open()
    yield shared_traveller
    if failed():
        shared_traveller.lost()


def persistent(host: machine.Machine, vm: Vm) -> bool:
    listed = host.run(["virsh", "list", "--all", "--persistent", "--uuid"]).out
    return vm.uuid in listed


def test_native(traveller: Traveller) -> None:
    traveller.move(LIVE)


def test_peer_to_peer(traveller: Traveller) -> None:
    traveller.move(f"{LIVE} --p2p")


def test_tunnelled(traveller: Traveller) -> None:
    traveller.move(f"{LIVE} --p2p --tunnelled")


def test_without_persistence(traveller: Traveller) -> None:
    """The definition stays at the source, and must hold nothing there."""
    traveller.move("--live")
    vm = traveller.vm
    assert persistent(traveller.there, vm) and not persistent(traveller.here, vm)
    traveller.move(LIVE)


def test_suspended_at_the_destination(traveller: Traveller) -> None:
    vm = traveller.vm
    traveller.move(f"{LIVE} --suspend", writing=False)
    assert vm.state(traveller.here) == "paused"
    traveller.here.run(["virsh", "resume", vm.uuid])
    vm.wait_writes(traveller.here)


def test_of_a_paused_vm(traveller: Traveller) -> None:
    vm = traveller.vm
    traveller.here.run(["virsh", "suspend", vm.uuid])
    traveller.move(LIVE, writing=False)
    assert vm.state(traveller.here) == "paused"
    traveller.here.run(["virsh", "resume", vm.uuid])
    vm.wait_writes(traveller.here)


def test_postcopy(traveller: Traveller) -> None:
    for host in (traveller.here, traveller.there):
        host.run("sysctl -q vm.unprivileged_userfaultfd=1")
    traveller.move(f"{LIVE} --postcopy --postcopy-after-precopy")


def test_under_another_name(traveller: Traveller) -> None:
    traveller.move(f"{LIVE} --dname other")
    traveller.move(f"{LIVE} --dname vm1")


def test_with_the_destinations_own_link(traveller: Traveller) -> None:
    """--xml may name the same LUN by another link, and has no metadata of ours."""
    vm, here = traveller.vm, traveller.here
    old, new = vm.links[0], vm.volumes[0].by_path()
    dumped = here.run(f"virsh dumpxml --migratable {vm.uuid}").out
    assert old in dumped
    here.put(dumped.replace(old, new).encode(), "/tmp/own.xml")
    here.put(
        here.run(f"virsh dumpxml --inactive {vm.uuid}").out.replace(old, new).encode(), "/tmp/p.xml"
    )
    traveller.move(f"{LIVE} --xml /tmp/own.xml --persistent-xml /tmp/p.xml")
    assert new in traveller.here.run(["virsh", "domblklist", vm.uuid]).out


def test_offline(traveller: Traveller) -> None:
    """Only a definition goes there: nothing is logged in for it."""
    vm = traveller.vm
    vm.shutdown(traveller.here)
    traveller.stage.wait_clean()
    options = "--offline --persistent --undefinesource"
    vm.migrate(traveller.here, traveller.there, options)
    traveller.arrived()
    assert all(state.is_clean for state in traveller.stage.states())
    vm.start(traveller.here)


def test_save_and_restore_on_the_other_host(traveller: Traveller) -> None:
    vm = traveller.vm
    here, there = traveller.here, traveller.there
    file = "/var/tmp/vm1.saved"
    here.run(["virsh", "save", vm.uuid, file], timeout=120)
    traveller.stage.wait_clean()
    here.run(f"scp -q {file} {there.name}:{file} && rm {file}", timeout=120)
    there.run(["virsh", "restore", file], timeout=120)
    there.run(["rm", file])
    traveller.arrived()
    vm.wait_writes(there)
    definition = here.run(f"virsh dumpxml --inactive {vm.uuid}").out
    here.run(["virsh", "undefine", vm.uuid])
    there.run(["virsh", "define", "/dev/stdin"], input=definition)
    wait_for("one definition", lambda: persistent(there, vm), 10)
