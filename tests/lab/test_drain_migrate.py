"""Migrations to a host that is drained, and away from it."""

import pytest

from tests.lab import CommandFailed
from tests.lab.stage import Stage

ONLY_KVMLUN = "only kvmlun drains a host"


@pytest.mark.campaign
def test_no_vm_arrives_and_one_leaves(s: Stage) -> None:
    here, there = s.kvms[:2]
    vm = s.vm("vm1", [s.volume("vm1")])
    vm.start(here)
    there.run("kvmlun host drain")
    with pytest.raises(CommandFailed) as refused:
        vm.migrate(here, there)
    assert "to end that: kvmlun host resume" in refused.value.err
    assert not s.states()[1].targets
    vm.wait_writes(here)
    there.run("kvmlun host resume")
    waiting = here.spawn("kvmlun host drain --wait")
    vm.migrate(here, there)
    assert waiting.wait(60).rc == 0, waiting.err
    s.wait_clean(here)
    vm.wait_writes(there)
    vm.destroy(there)
    s.wait_clean()
    vm.check_data(s.san)
