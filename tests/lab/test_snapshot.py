"""Block jobs: the LUN below an overlay is held, a mirrored one too, and the old one goes."""

import pytest

from tests.lab import machine, observe, wait_for
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host

OVERLAY = "/var/lib/libvirt/images/overlay.qcow2"


@pytest.fixture
def host(s: Stage):
    yield s.kvms[0]
    s.kvms[0].run(["rm", "-f", OVERLAY])


def sources(host: machine.Machine, vm) -> str:
    return host.run(["virsh", "domblklist", vm.uuid]).out


def snapshot(host: machine.Machine, vm) -> None:
    spec = f"vda,file={OVERLAY}"
    options = ["--disk-only", "--no-metadata", "--diskspec", spec]
    host.run(["virsh", "snapshot-create-as", vm.uuid, "one", *options])
    assert OVERLAY in sources(host, vm)


def restart(host: machine.Machine) -> None:
    host.run(["systemctl", "restart", "kvmlund"])


@pytest.mark.campaign
def test_a_lun_below_a_snapshot_is_held_and_committed_back(s: Stage, host) -> None:
    vm = s.vm("vm1", [s.volume("vm1")])
    vm.start(host)
    before = s.states()[0].sessions
    snapshot(host, vm)
    if s.peer.name == "kvmlun":
        restart(host)
    # Another VM's session comes and goes meanwhile.
    other = s.vm("vm2", [s.volume("vm2")])
    other.start(host, writing=False)
    other.destroy(host)
    wait_for("vm2's session to end", lambda: s.states()[0].sessions == before, 60)
    vm.wait_writes(host)
    commit = ["virsh", "blockcommit", vm.uuid, "vda", "--active", "--pivot", "--wait"]
    host.run(commit, timeout=120)
    assert vm.links[0] in sources(host, vm)
    vm.wait_writes(host)
    vm.shutdown(host)
    s.wait_clean()
    vm.check_data(s.san)


def test_a_vm_with_an_overlay_starts_again(s: Stage, host) -> None:
    """Its definition names the overlay only: what is below stands in the metadata."""
    vm = s.vm("vm1", [s.volume("vm1")])
    vm.start(host)
    snapshot(host, vm)
    vm.wait_writes(host)
    vm.destroy(host)
    s.wait_clean()
    vm.start(host, writing=False)
    vm.wait_console(host, "^RING-START", times=2)
    vm.wait_writes(host)
    vm.destroy(host)
    s.wait_clean()


@pytest.mark.campaign
def test_blockcopy_moves_a_vm_to_another_lun(s: Stage, host) -> None:
    if s.peer.name != "kvmlun":
        pytest.skip("nothing else brings a LUN without a start")
    old, new = s.volume("vm1"), s.volume("new")
    vm = s.vm("vm1", [old])
    s.peer.know(host, "new", [new])
    vm.start(host)
    host.run("kvmlun connect new-0")
    copy = ["virsh", "blockcopy", vm.uuid, "vda", "--dest", new.by_id, "--blockdev", "--format"]
    host.run([*copy, "raw", "--reuse-external", "--transient-job", "--wait"], timeout=120)
    host.run("kvmlun disconnect new-0")
    assert sorted(s.states()[0].targets) == sorted([old.iqn, new.iqn])
    host.run(["virsh", "blockjob", vm.uuid, "vda", "--pivot"])
    wait_for("the old LUN to go", lambda: s.states()[0].targets == [new.iqn], 60)
    vm.wait_writes(host)
    (shown,) = [lun for lun in observe.status(host)["luns"] if lun["state"] == "in-use"]
    assert (shown["wwid"], shown["domains"]) == (new.wwid, ["vm1"])
    vm.destroy(host)
    s.wait_clean()
    vm.volumes = [new]
    vm.check_data(s.san)
