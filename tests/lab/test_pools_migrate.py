"""A VM on a pool's volume moves, if the pool is active on both hosts."""

import pytest

from tests.lab import CommandFailed
from tests.lab.pool import Pools
from tests.lab.stage import Stage


@pytest.mark.campaign
def test_migration(s: Stage, pools: Pools) -> None:
    """Both hosts need the pool, and the destination's must be active: libvirt asks for that."""
    here, there = s.kvms[:2]
    _, vm = pools.vm("vm1", [here, there])
    vm.start(here)
    vm.migrate(here, there)
    vm.wait_writes(there)
    vm.migrate(there, here)
    vm.wait_writes(here)
    there.run("virsh pool-destroy pool-vm1")
    with pytest.raises(CommandFailed) as refused:
        vm.migrate(here, there)
    assert "pool" in refused.value.err
    vm.wait_writes(here)
    vm.destroy(here)
    vm.check_data(s.san)
