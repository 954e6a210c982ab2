"""Saved, restored, autostarted: VMs over the end of a process, of a host, of the power."""

import pytest

from tests.lab import observe, wait_for
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host

SAVED = "/var/lib/libvirt/images/vm1.saved"
BOOT_SECONDS = 180


def test_save_and_restore(s: Stage) -> None:
    host = s.kvms[0]
    vm = s.vm("vm1", [s.volume("vm1")])
    vm.start(host)
    host.run(["virsh", "save", vm.uuid, SAVED], timeout=120)
    s.wait_clean()
    host.run(["virsh", "restore", SAVED], timeout=120)
    host.run(["rm", SAVED])
    vm.wait_writes(host)
    vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)


@pytest.mark.campaign
def test_managedsave(s: Stage) -> None:
    host = s.kvms[0]
    vm = s.vm("vm1", [s.volume("vm1")])
    vm.start(host)
    host.run(["virsh", "managedsave", vm.uuid], timeout=120)
    s.wait_clean()
    vm.start(host)
    assert len(vm.console(host).split("GUEST-UP")) == 2, "it went on, it did not boot"
    vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)


def test_qemu_killed(s: Stage) -> None:
    host = s.kvms[0]
    vm = s.vm("vm1", [s.volume("vm1")])
    vm.start(host)
    host.run(["pkill", "-9", "-f", "qemu-system-x86_64"])
    s.wait_clean()
    vm.check_data(s.san)


def test_transient_domain(s: Stage) -> None:
    host = s.kvms[0]
    vm = s.vm("vm1", [s.volume("vm1")])
    host.run(["virsh", "undefine", vm.uuid])
    host.run(["virsh", "create", "/dev/stdin"], input=vm.xml(), timeout=120)
    vm.wait_writes(host)
    vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)


def test_domrename(s: Stage) -> None:
    host = s.kvms[0]
    vm = s.vm("vm1", [s.volume("vm1")])
    vm.start(host, writing=False)
    vm.destroy(host)
    host.run(["virsh", "domrename", "vm1", "renamed"])
    vm.start(host, writing=False)
    if s.peer.name == "kvmlun":
        wait_for("the new name", lambda: " renamed" in host.run("kvmlun status").out, 20)
    assert s.states()[0].targets == [vm.volumes[0].iqn]
    vm.destroy(host)
    s.wait_clean()


def test_clone_with_another_vms_metadata(s: Stage) -> None:
    """Only the UUID tells whose metadata it is: the clone's own disk is its own."""
    host = s.kvms[0]
    one, two = s.vm("vm1", [s.volume("vm1")]), s.vm("vm2", [s.volume("vm2")])
    one.start(host, writing=False)
    ours = f"virsh dumpxml {one.uuid} --inactive"
    if s.peer.name == "kvmlun":
        wait_for("vm1's metadata", lambda: "kvmlun:disk" in host.run(ours).out, 30)
    metadata = host.run(ours).out.partition("<metadata>")[2].partition("</metadata>")[0]
    host.run(["virsh", "define", "/dev/stdin"], input=two.xml(metadata=metadata))
    two.start(host, writing=False)
    one.destroy(host)
    wait_for("vm1's session to go", lambda: s.states()[0].targets == [two.volumes[0].iqn], 60)
    two.destroy(host)
    s.wait_clean()


@pytest.mark.campaign
def test_autostart_after_a_clean_reboot(s: Stage) -> None:
    """The host goes down with the VM running, without hanging, and comes up with it."""
    host = s.kvms[0]
    vm = s.vm("vm1", [s.volume("vm1")])
    host.run(["virsh", "autostart", vm.uuid])
    vm.start(host)
    before = host.boot_id()
    host.reboot()
    assert host.boot_id() != before
    wait_for("vm1 again", lambda: vm.is_running(host), BOOT_SECONDS)
    vm.wait_console(host, "^RING-START", times=2)
    vm.wait_writes(host)
    assert s.states()[0].targets == [vm.volumes[0].iqn]
    vm.shutdown(host)
    s.wait_clean()
    vm.check_data(s.san)


@pytest.mark.campaign
def test_power_cut(s: Stage) -> None:
    """The VM is not started again here: what the cut left must go by itself."""
    host = s.kvms[0]
    vm = s.vm("vm1", [s.volume("vm1")])
    vm.start(host)
    host.run("sync")  # else the cut takes what the console said of this boot
    host.kill()
    host.start()
    s.wait_clean()
    s.comes_and_goes(vm)


@pytest.mark.campaign
def test_boot_with_the_san_down(s: Stage) -> None:
    """20 autostarted VMs fail with a line each and hold nobody up; then the operator's wish."""
    if s.peer.name != "kvmlun":
        pytest.skip("only kvmlun remembers a portal")
    host, volume = s.kvms[0], s.volume("vm1")
    vm = s.vm("vm1", [volume])
    s.peer.configure(host, retry_autostart=True)
    names = [f"auto{number:02}" for number in range(1, 20)]
    for name in names:
        host.run(["virsh", "define", "/dev/stdin"], input=s.twin(vm, name))
    host.run("for vm in $(virsh list --all --uuid); do virsh autostart $vm; done", timeout=120)
    with host.without_route(s.san.host.address("san_a")):
        host.reboot()
        journal = "journalctl -u kvmlund -b -o cat"
        refused = "refused: volume vm1-0: .*the portal does not answer"

        def all_refused() -> bool:
            lines = host.run(f"{journal} | grep -c '{refused}'", check=False).out
            return int(lines) >= 20

        wait_for("20 refusals", all_refused, 120)
        assert host.run("virsh list --name").out.strip() == ""
    wait_for("one of them to run", lambda: host.run("virsh list --name").out.strip(), 120)
    assert observe.observe(host).targets == [volume.iqn]
