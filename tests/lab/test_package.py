"""Installing, upgrading and removing the package on a host that runs VMs."""

import pytest

from tests.lab import machine, package, wait_for
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "only kvmlun is a package"
RULES = ["50-kvmlun.rules", "58-kvmlun-map.rules"]

HOOK = "/etc/libvirt/hooks/qemu.d/50-kvmlun"


@pytest.mark.campaign
def test_upgrade_while_a_vm_runs(s: Stage) -> None:
    host = s.kvms[0]
    vm = s.vm("vm1", [s.volume("vm1")])
    vm.start(host)
    before = s.states()[0].sessions
    host.install(package.build("0.1.0+newer"))
    assert "0.1.0+newer" in host.run("dpkg-query -W kvmlun").out
    vm.wait_writes(host)
    assert s.states()[0].sessions == before
    vm.shutdown(host)
    s.wait_clean()
    vm.check_data(s.san)
    host.install(package.build())


def test_upgrade_while_vms_start_and_stop(s: Stage) -> None:
    """Not one of them fails, whatever the moment."""
    host = s.kvms[0]
    vm = s.vm("vm1", [s.volume("vm1")])
    host.put(package.build("0.1.0+newer"), "/tmp/newer.deb")
    upgrade = host.spawn("dpkg -i /tmp/newer.deb")
    while upgrade.poll() is None:
        vm.start(host, writing=False)
        vm.destroy(host)
    assert upgrade.wait().rc == 0, upgrade.err
    assert "0.1.0+newer" in host.run("dpkg-query -W kvmlun").out
    s.wait_clean()
    host.install(package.build())


def apt_install(host: machine.Machine) -> None:
    """As the README says."""
    host.put(package.build(), "/tmp/kvmlun.deb")
    host.run("apt-get install -y --no-install-recommends /tmp/kvmlun.deb", timeout=180)


@pytest.mark.campaign
def test_remove_leaves_running_vms_and_blocks_none(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    vm = s.vm("vm1", [volume])
    vm.start(host)
    try:
        host.run("apt-get remove -y kvmlun", timeout=120)
        assert host.run(f"test -e {HOOK} -o -L {HOOK}", check=False).rc != 0
        assert host.run("ls /run/udev/rules.d").out.split() == RULES
        vm.wait_writes(host)
        vm.command(host, "reboot")
        vm.wait_console(host, "^GUEST-UP", times=2)
        vm.destroy(host)
        # The LUN is still logged in, so even this VM starts without anybody's help.
        vm.start(host)
        vm.destroy(host)
    finally:
        apt_install(host)
    wait_for("the hook's link", lambda: host.run(f"test -x {HOOK}", check=False).rc == 0, 10)
    s.wait_clean()
    vm.check_data(s.san)
