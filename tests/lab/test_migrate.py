"""Live migration between two hosts, the guest writing throughout."""

import pytest

from tests.lab import CommandFailed
from tests.lab.stage import Stage


def test_there_and_back(s: Stage, round_trips: int) -> None:
    """Host 2 was told nothing: what it needs comes with the domain."""
    one, two = s.kvms[:2]
    vm = s.vm("vm1", [s.volume("vm1")])
    vm.start(one)
    for _ in range(round_trips):
        for source, destination in ((one, two), (two, one)):
            vm.migrate(source, destination)
            vm.wait_writes(destination)
            s.wait_clean(source)
    vm.shutdown(one)
    s.wait_clean()
    vm.check_data(s.san)


@pytest.mark.campaign
def test_by_path(s: Stage) -> None:
    one, two = s.kvms[:2]
    vm = s.vm("vm1", [s.volume("vm1")], by_path=True, known_on=[])
    vm.start(one)
    vm.migrate(one, two)
    vm.wait_writes(two)
    s.wait_clean(one)
    vm.shutdown(two)
    s.wait_clean()
    vm.check_data(s.san)


def test_refused_by_a_destination_that_cannot_reach_the_target(s: Stage) -> None:
    one, two = s.kvms[:2]
    volume = s.volume("vm1")
    vm = s.vm("vm1", [volume])
    vm.start(one)
    with two.cut("san_a"):
        with pytest.raises(CommandFailed) as refused:
            vm.migrate(one, two)
    told = refused.value.err.strip()
    assert len(told.splitlines()) == 1
    assert volume.iqn in told
    vm.wait_writes(one)
    s.wait_clean(two)
    vm.migrate(one, two)
    vm.wait_writes(two)
    vm.shutdown(two)
    s.wait_clean()
    vm.check_data(s.san)
