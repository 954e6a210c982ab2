"""libvirtd killed while a VM starts or stops: what it forgets then must not stay logged in."""

import pytest

from tests.lab import CommandFailed, trap, wait_for
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host


@pytest.mark.campaign
def test_while_prepare_waits(s: Stage) -> None:
    """The hook goes on alone, and nobody is there for its answer."""
    host = s.kvms[0]
    vm = s.vm("vm1", [s.volume("vm1")])
    with host.cut("san_a"):
        starting = host.spawn(["virsh", "start", vm.uuid])
        what = "the hook to wait for its login"
        wait_for(what, lambda: host.run("pgrep -f 'vm1 prepar[e]'", check=False).out, 30)
        host.kill_daemon("libvirtd")
        assert starting.wait().rc != 0
    s.wait_clean()
    s.comes_and_goes(vm)


@pytest.mark.campaign
@pytest.mark.parametrize("operation", ["prepare", "start"])
def test_while_a_vm_starts(s: Stage, operation: str) -> None:
    """Before QEMU is forked libvirt has nothing on disk: it never says release."""
    host = s.kvms[0]
    vm = s.vm("vm1", [s.volume("vm1")])
    with trap.libvirtd_dies_at(host, operation):
        with pytest.raises(CommandFailed):
            vm.start(host, writing=False)
    s.wait_clean()
    s.comes_and_goes(vm)


@pytest.mark.campaign
def test_when_a_vm_has_just_started(s: Stage) -> None:
    """QEMU runs already: the next libvirtd finds it, whatever virsh said, and it keeps its LUN."""
    host = s.kvms[0]
    vm = s.vm("vm1", [s.volume("vm1")])
    with trap.libvirtd_dies_at(host, "started"):
        with pytest.raises(CommandFailed):
            vm.start(host, writing=False)
    wait_for("libvirt to find it", lambda: vm.state(host) == "running", 60)
    vm.wait_writes(host)
    vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)


@pytest.mark.campaign
def test_while_a_vm_stops(s: Stage) -> None:
    host = s.kvms[0]
    vm = s.vm("vm1", [s.volume("vm1")])
    vm.start(host)
    with trap.libvirtd_dies_at(host, "stopped"):
        with pytest.raises(CommandFailed):
            vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)
