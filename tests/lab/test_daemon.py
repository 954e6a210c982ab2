"""Daemons die and come back while VMs run: nothing is logged out, and all is right afterwards."""

import pytest

from tests.lab import machine, wait_for
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host


@pytest.fixture
def vm(s: Stage):
    made = s.vm("vm1", [s.volume("vm1")])
    made.start(s.kvms[0])
    return made


def pid(host: machine.Machine, unit: str) -> str:
    return host.run(["systemctl", "show", "-P", "MainPID", unit]).out.strip()


def kill(host: machine.Machine, unit: str) -> None:
    """Kill a daemon and wait until systemd has started it again."""
    before = pid(host, unit)
    host.run(["kill", "-9", before])
    active = ["systemctl", "is-active", "--quiet", unit]

    def again() -> bool:
        return pid(host, unit) not in ("0", before) and host.run(active, check=False).rc == 0

    wait_for(f"{unit} after its death", again, 60)


def untouched(s: Stage, vm, before) -> None:
    host = s.kvms[0]
    vm.wait_writes(host)
    assert s.states()[0].sessions == before
    vm.shutdown(host)
    s.wait_clean()
    vm.check_data(s.san)


def test_kvmlund_killed(s: Stage, vm) -> None:
    if s.peer.name != "kvmlun":
        pytest.skip("there is no daemon to kill")
    before = s.states()[0].sessions
    kill(s.kvms[0], "kvmlund.service")
    untouched(s, vm, before)


def test_libvirtd_restarted(s: Stage, vm) -> None:
    before = s.states()[0].sessions
    s.kvms[0].run(["systemctl", "restart", "libvirtd"])
    untouched(s, vm, before)


def test_open_iscsi_restarted(s: Stage, vm) -> None:
    """Its stop logs out of everything, unless something tells it not to."""
    before = s.states()[0].sessions
    s.kvms[0].run("systemctl start open-iscsi && systemctl restart open-iscsi")
    untouched(s, vm, before)


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
