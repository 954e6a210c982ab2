"""Migrations while kvmlund is killed, stopped or upgraded at either end."""

from collections.abc import Iterator

import pytest

from tests.lab import CommandFailed, package, wait_for
from tests.lab.shared_vm import Traveller
from tests.lab.vm import LIVE

ALL_UNITS = "kvmlund.socket kvmlund.service"


@pytest.fixture
def traveller(shared_traveller: Traveller, kvmlun: None, failed) -> Iterator[Traveller]:
    shared_traveller.open()
    yield shared_traveller
    if failed():
        shared_traveller.lost()


def test_kvmlund_killed_while_the_destination_prepares(traveller: Traveller) -> None:
    vm, here, there = traveller.vm, traveller.here, traveller.there
    before = there.main_pid("kvmlund")
    running = here.spawn(vm.migration(there, LIVE))
    what = "the login at the destination"
    wait_for(what, lambda: traveller.stage.states()[traveller.stage.kvms.index(there)].sessions, 60)
    there.kill_daemon("kvmlund")
    assert running.wait(240).rc == 0, running.err
    assert there.main_pid("kvmlund") != before
    traveller.arrived()
    vm.wait_writes(traveller.here)
    traveller.stage.wait_clean(traveller.there)


def test_kvmlund_stopped_at_the_source(traveller: Traveller) -> None:
    """The VM leaves without it; what it had is taken away when kvmlund is back."""
    vm, here = traveller.vm, traveller.here
    here.run(f"systemctl stop {ALL_UNITS}")
    try:
        vm.migrate(here, traveller.there, LIVE)
        traveller.arrived()
        vm.wait_writes(traveller.here)
    finally:
        here.run(f"systemctl start {ALL_UNITS}")
    traveller.stage.wait_clean(here)


def test_kvmlund_stopped_at_the_destination(traveller: Traveller) -> None:
    vm, here, there = traveller.vm, traveller.here, traveller.there
    there.run(f"systemctl stop {ALL_UNITS}")
    try:
        with pytest.raises(CommandFailed) as refused:
            vm.migrate(here, there, LIVE)
    finally:
        there.run(f"systemctl start {ALL_UNITS}")
    told = refused.value.err.strip()
    assert len(told.splitlines()) == 1
    assert "start it with: systemctl start kvmlund.socket kvmlund" in told
    vm.wait_writes(here)
    traveller.stage.wait_clean(there)


@pytest.mark.campaign
def test_upgrade_at_both_ends(traveller: Traveller) -> None:
    vm, here, there = traveller.vm, traveller.here, traveller.there
    newer = package.build("0.1.0+newer")
    for host in (here, there):
        host.put(newer, "/tmp/newer.deb")
    upgrades = [host.spawn("dpkg -i /tmp/newer.deb") for host in (here, there)]
    vm.migrate(here, there, LIVE)
    for upgrade in upgrades:
        assert upgrade.wait(180).rc == 0, upgrade.err
    traveller.arrived()
    vm.wait_writes(traveller.here)
    traveller.stage.wait_clean(here)
    for host in (here, there):
        host.install(package.build())
