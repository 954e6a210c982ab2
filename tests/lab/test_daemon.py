"""VMs that start and end while a daemon is down or dies: what they used goes when it is back."""

import pytest

from tests.lab import CommandFailed, machine, observe, wait_for
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host


@pytest.fixture
def vm(s: Stage):
    made = s.vm("vm1", [s.volume("vm1")])
    made.start(s.kvms[0])
    return made


def test_kvmlund_stopped_for_a_while(s: Stage, kvmlun, vm) -> None:
    """A running VM writes on and may end; another can't start and says why; then all is well."""
    host, other = s.kvms[0], s.vm("vm2", [s.volume("vm2")])
    host.run(["systemctl", "stop", "kvmlund.socket", "kvmlund"])
    vm.wait_writes(host)
    with pytest.raises(CommandFailed) as refused:
        other.start(host, writing=False)
    assert "start it with: systemctl start kvmlund.socket kvmlund" in refused.value.err
    vm.destroy(host)
    assert not s.states()[0].is_clean
    # D-Bus starts it for any call, and its unit the socket.
    host.run("kvmlun status")
    s.wait_clean()
    other.start(host)
    other.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)
    other.check_data(s.san)


def test_kvmlund_killed_while_a_vm_starts(s: Stage, kvmlun) -> None:
    """The hook asks the next daemon, and libvirt notices nothing."""
    host = s.kvms[0]
    vm = s.vm("vm1", [s.volume("vm1")])
    starting = host.spawn(["virsh", "start", vm.uuid])
    wait_for("the login", lambda: observe.observe(host).sessions, 30)
    host.kill_daemon("kvmlund")
    assert starting.wait(120).rc == 0, starting.err
    vm.wait_writes(host)
    vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)


def test_kvmlund_killed_while_a_vm_stops(s: Stage, kvmlun, vm) -> None:
    """Nobody hears the hook's release; libvirt's list tells the next daemon."""
    host = s.kvms[0]
    host.run(f"virsh destroy {vm.uuid} & kill -9 $(systemctl show -P MainPID kvmlund); wait")
    s.wait_clean()
    vm.check_data(s.san)


def pinged(host: machine.Machine) -> str:
    return host.run("systemctl show -P WatchdogTimestampMonotonic kvmlund").out


@pytest.mark.campaign
def test_kvmlund_frozen(s: Stage, kvmlun, vm) -> None:
    """The hook gives up at its deadline; systemd's watchdog ends the daemon and starts another."""
    host, other = s.kvms[0], s.vm("vm2", [s.volume("vm2")])
    # Right after a ping the watchdog waits its whole minute, longer than the hook.
    ping = pinged(host)
    wait_for("a ping of the watchdog", lambda: pinged(host) != ping, 60)
    with host.frozen("kvmlund") as frozen:
        with pytest.raises(CommandFailed) as refused:
            other.start(host, writing=False)
        assert "kvmlund did not answer within 45 s" in refused.value.err
        vm.wait_writes(host)
        other.start(host)
        assert host.main_pid("kvmlund") != frozen
    other.destroy(host)
    vm.destroy(host)
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


@pytest.mark.campaign
def test_iscsid_stuck_while_a_vm_starts(s: Stage, kvmlun) -> None:
    """It makes the session long after the start was refused: still ours, and ended."""
    host, vm = s.kvms[0], s.vm("vm1", [s.volume("vm1")])
    host.run("systemctl start iscsid && pkill -STOP -x iscsid")
    try:
        with pytest.raises(CommandFailed) as refused:
            vm.start(host, writing=False)
        assert f"login to {vm.volumes[0].iqn} at" in refused.value.err
    finally:
        host.run("pkill -CONT -x iscsid")
    s.wait_clean()
    s.comes_and_goes(vm)


@pytest.mark.campaign
@pytest.mark.parametrize("killed", [False, True])
def test_iscsid_stuck_while_a_vm_stops(s: Stage, kvmlun, vm, killed: bool) -> None:
    """A start meanwhile must not get the session whose end iscsid was asked for."""
    host, iqn = s.kvms[0], vm.volumes[0].iqn
    host.run("pkill -STOP -x iscsid")
    try:
        vm.destroy(host)
        logout = "pgrep -f 'iscsiad[m] -m session -r'"
        wait_for("the logout", lambda: host.run(logout, check=False).out, 60)
        if killed:
            host.kill_daemon("kvmlund")
        starting = host.spawn(["virsh", "start", vm.uuid])
        wait_for("the hook", lambda: host.run("pgrep -f 'vm1 prepar[e]'", check=False).out, 30)
    finally:
        host.run("pkill -CONT -x iscsid")
    assert starting.wait(120).rc == 0, starting.err
    vm.wait_writes(host)
    assert s.states()[0].targets == [iqn]
    vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)
