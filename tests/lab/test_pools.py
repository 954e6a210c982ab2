"""VMs whose disk is a volume of a libvirt iSCSI pool: the pool stays, the LUN is kvmlun's care."""

import json

import pytest

from tests.lab import CommandFailed, observe, wait_for
from tests.lab.pool import Pools
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host


def test_a_pools_volume_is_proven_and_borrowed(s: Stage, pools: Pools) -> None:
    host = s.kvms[0]
    volume, vm = pools.vm("vm1", [host])
    _, other = pools.vm("vm2", [host])
    before = s.states()[0].sessions
    vm.start(host)
    other.start(host)
    assert s.states()[0].sessions == before
    if s.peer.name == "kvmlun":
        wait_for("kvmlun to know it", lambda: observe.users(host, volume.wwid) == ["vm1"], 30)
        told = host.run("kvmlun doctor", check=False).out
        for name in ("vm1", "vm2"):
            assert f"pools: virsh pool-destroy pool-{name} would log out" in told
        assert told.count(" from qemu-system-x86 (") == 2
    vm.destroy(host)
    other.destroy(host)
    assert s.states()[0].sessions == before
    vm.check_data(s.san)
    other.check_data(s.san)


def test_another_disk_in_the_pool_is_refused(s: Stage, pools: Pools) -> None:
    """libvirt itself starts the VM on whatever is at that address now."""
    host = s.kvms[0]
    volume, vm = pools.vm("vm1", [host])
    s.peer.know(host, "vm1", [volume])
    other = s.san.swap(volume)
    with pytest.raises(CommandFailed) as refused:
        vm.start(host, writing=False)
    assert other.wwid in refused.value.err and volume.wwid in refused.value.err


def test_a_session_that_the_pool_lost_is_made_again(s: Stage, pools: Pools) -> None:
    """An active pool of libvirt's looks at its session only when it is refreshed."""
    host = s.kvms[0]
    volume, vm = pools.vm("vm1", [host])
    host.run(["iscsiadm", "-m", "node", "-T", volume.iqn, "--logout"])
    vm.start(host)
    vm.destroy(host)
    wait_for("the LUN to go", lambda: not s.states()[0].sessions, 60)
    vm.check_data(s.san)


def test_import_pools(s: Stage, pools: Pools) -> None:
    if s.peer.name != "kvmlun":
        pytest.skip("only kvmlun has a catalog")
    host = s.kvms[0]
    one, _ = pools.vm("vm1", [host])
    two, _ = pools.vm("vm2", [host])
    told = host.run("kvmlun volume import-pools").out
    assert told == f"pool-vm1-0: {one.wwid}, added\npool-vm2-0: {two.wwid}, added\n"
    assert {v["name"]: v["wwid"] for v in observe.volumes(host)} == {
        "pool-vm1-0": one.wwid,
        "pool-vm2-0": two.wwid,
    }
    assert "is volume pool-vm1-0" in host.run("kvmlun volume import-pools").out
    assert json.loads(host.run("kvmlun volume show pool-vm1-0 --json").out)["target"] == one.iqn
