"""A host that is drained: what runs goes on and nothing comes, until the operator ends it."""

import pytest

from tests.lab import wait_for
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "only kvmlun drains a host"

REMEDY = "so no LUN comes here; to end that: kvmlun host resume"


def test_what_runs_goes_on_and_nothing_comes(s: Stage) -> None:
    """Also for another kvmlund than the one that was asked."""
    host = s.kvms[0]
    vm, other = s.vm("vm1", [s.volume("vm1")]), s.vm("vm2", [s.volume("vm2")])
    vm.start(host, writing=False)
    drained = host.run("kvmlun host drain", check=False)
    assert (drained.rc, drained.out) == (9, "vm1\n")
    waiting = host.spawn("kvmlun host drain --wait")
    wait_for("it to wait", lambda: "waiting for vm1" in waiting.err, 20)
    host.run("systemctl restart kvmlund.socket kvmlund")
    assert REMEDY in other.refused(host)
    connected = host.run("kvmlun connect vm2-0", check=False)
    assert connected.rc == 5 and REMEDY in connected.err
    assert s.states()[0].targets == [vm.volumes[0].iqn]
    assert "no LUN comes here until kvmlun host resume" in host.run("kvmlun status").out
    vm.wait_writes(host)
    vm.destroy(host)
    done = waiting.wait(60)
    assert (done.rc, done.out) == (0, "nobody is left\n")
    host.run("kvmlun host resume")
    other.start(host, writing=False)
    other.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)


@pytest.mark.campaign
def test_a_reboot_does_not_end_it(s: Stage) -> None:
    """Autostarted VMs are refused; once the host is resumed the operator starts them."""
    host, vm = s.kvms[0], s.vm("vm1", [s.volume("vm1")])
    host.run(["virsh", "autostart", vm.uuid])
    assert host.run("kvmlun host drain").out == "nobody is left\n"
    host.reboot()
    journal = f"journalctl -u kvmlund -b -o cat | grep 'vm1 prepare: refused: .*{REMEDY}'"
    wait_for("the refusal", lambda: host.run(journal, check=False).rc == 0, 120)
    assert not vm.is_running(host)
    host.run("kvmlun host resume")
    s.comes_and_goes(vm)


@pytest.mark.campaign
def test_who_is_left_is_not_known_before_libvirt_has_told(s: Stage) -> None:
    """``drain && reboot`` must not take that for nobody."""
    host = s.kvms[0]
    units = "libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd.service"
    host.run(f"systemctl stop {units}; systemctl restart kvmlund")
    try:
        wait_for("kvmlund", lambda: host.run("kvmlun status", check=False).rc == 0, 20)
        told = host.run("kvmlun host drain", check=False)
        assert told.rc == 1 and "nobody knows which VMs run here" in told.err
    finally:
        host.run(f"systemctl start {units}")
        host.run("kvmlun host resume")
