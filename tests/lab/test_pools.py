"""VMs whose disk is a volume of a libvirt iSCSI pool: the pool stays, the LUN is kvmlun's care."""

import json

import pytest

from tests.lab import CommandFailed, observe, san, wait_for
from tests.lab.machine import Machine
from tests.lab.stage import Stage
from tests.lab.vm import LIVE, Vm


def define_pool(host: Machine, name: str, volume: san.Volume) -> None:
    """A pool as libvirt's documentation shows it; started, so that libvirt logs in."""
    address, _, port = volume.portal.rpartition(":")
    xml = f"""<pool type='iscsi'><name>{name}</name>
      <source><host name='{address}' port='{port}'/><device path='{volume.iqn}'/></source>
      <target><path>/dev/disk/by-path</path></target></pool>"""
    host.run("virsh pool-define /dev/stdin", input=xml)
    host.run(f"virsh pool-start {name}", timeout=120)


def drop_pool(host: Machine, name: str) -> None:
    host.run(f"virsh pool-destroy {name}; virsh pool-undefine {name}", timeout=120)
    # libvirt leaves its node record.
    host.run("iscsiadm -m node -o delete", check=False)


@pytest.fixture
def pooled(s: Stage):
    """A VM on a pool's volume, and the pool on the hosts that are asked for."""
    made: list[tuple[Machine, str]] = []

    def pooled(name: str, *hosts: Machine) -> tuple[san.Volume, Vm]:
        volume = s.volume(name)
        for host in hosts:
            define_pool(host, f"pool-{name}", volume)
            made.append((host, f"pool-{name}"))
        link = f"pool-{name}/unit:0:0:{volume.lun}"
        vm = s.vm(name, [volume], known_on=[], links=[link])
        return volume, vm

    yield pooled
    for host, name in made:
        drop_pool(host, name)


@pytest.mark.one_host
def test_a_pools_volume_is_proven_and_borrowed(s: Stage, pooled) -> None:
    host = s.kvms[0]
    volume, vm = pooled("vm1", host)
    _, other = pooled("vm2", host)
    before = s.states()[0].sessions
    vm.start(host)
    other.start(host)
    assert s.states()[0].sessions == before
    if s.peer.name == "kvmlun":
        wait_for("kvmlun to know it", lambda: observe.users(host, volume.wwid) == ["vm1"], 30)
    vm.destroy(host)
    other.destroy(host)
    assert s.states()[0].sessions == before
    vm.check_data(s.san)
    other.check_data(s.san)


@pytest.mark.one_host
def test_another_disk_in_the_pool_is_refused(s: Stage, pooled) -> None:
    """libvirt itself starts the VM on whatever is at that address now."""
    host = s.kvms[0]
    volume, vm = pooled("vm1", host)
    s.peer.know(host, "vm1", [volume])
    other = s.san.swap(volume)
    with pytest.raises(CommandFailed) as refused:
        vm.start(host, writing=False)
    assert other.wwid in refused.value.err and volume.wwid in refused.value.err


@pytest.mark.one_host
def test_a_session_that_the_pool_lost_is_made_again(s: Stage, pooled) -> None:
    """An active pool of libvirt's looks at its session only when it is refreshed."""
    host = s.kvms[0]
    volume, vm = pooled("vm1", host)
    host.run(["iscsiadm", "-m", "node", "-T", volume.iqn, "--logout"])
    vm.start(host)
    vm.destroy(host)
    wait_for("the LUN to go", lambda: not s.states()[0].sessions, 60)
    vm.check_data(s.san)


def test_migration(s: Stage, pooled) -> None:
    """Both hosts need the pool, and the destination's must be active: libvirt asks for that."""
    here, there = s.kvms[:2]
    volume, vm = pooled("vm1", here, there)
    vm.start(here)
    vm.migrate(here, there)
    vm.wait_writes(there)
    vm.migrate(there, here)
    vm.wait_writes(here)
    there.run("virsh pool-destroy pool-vm1")
    with pytest.raises(CommandFailed) as refused:
        vm.migrate(here, there, LIVE)
    assert "pool" in refused.value.err
    vm.wait_writes(here)
    vm.destroy(here)
    vm.check_data(s.san)


@pytest.mark.one_host
def test_import_pools(s: Stage, pooled) -> None:
    if s.peer.name != "kvmlun":
        pytest.skip("only kvmlun has a catalog")
    host = s.kvms[0]
    one, _ = pooled("vm1", host)
    two, _ = pooled("vm2", host)
    told = host.run("kvmlun volume import-pools").out
    assert told == f"pool-vm1-0: {one.wwid}, added\npool-vm2-0: {two.wwid}, added\n"
    assert {v["name"]: v["wwid"] for v in observe.volumes(host)} == {
        "pool-vm1-0": one.wwid,
        "pool-vm2-0": two.wwid,
    }
    assert "is volume pool-vm1-0" in host.run("kvmlun volume import-pools").out
    assert json.loads(host.run("kvmlun volume show pool-vm1-0 --json").out)["target"] == one.iqn
