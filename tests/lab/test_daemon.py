"""VMs that end while a daemon is down: what they used goes when it is back."""

import pytest

from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host


@pytest.fixture
def vm(s: Stage):
    made = s.vm("vm1", [s.volume("vm1")])
    made.start(s.kvms[0])
    return made


def test_vm_that_ends_while_kvmlund_is_down(s: Stage, vm) -> None:
    if s.peer.name != "kvmlun":
        pytest.skip("there is no daemon to stop")
    host = s.kvms[0]
    host.run(["systemctl", "stop", "kvmlund.socket", "kvmlund"])
    vm.destroy(host)
    assert not s.states()[0].is_clean
    host.run(["systemctl", "start", "kvmlund.socket", "kvmlund"])
    s.wait_clean()
    vm.check_data(s.san)


def test_qemu_that_dies_while_libvirtd_is_dead(s: Stage, vm) -> None:
    """libvirtd never sees that VM again (its state is lost), so no hook says release."""
    host = s.kvms[0]
    qemu = host.run(["pidof", "qemu-system-x86_64"]).out.strip()
    sockets = "libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket"
    host.run(f"systemctl stop {sockets} libvirtd; kill -9 {qemu}")
    host.run(f"rm -f /run/libvirt/qemu/vm1.xml; systemctl start {sockets} libvirtd")
    s.wait_clean()
    vm.check_data(s.san)
