"""What happens to a host while a VM runs on it: the guest writes on, and nothing is logged out.

The rows share one VM, which each of them leaves running.
"""

import json
import re
import time
from collections.abc import Iterator

import pytest

from tests.lab import machine, observe, wait_for
from tests.lab.stage import Stage
from tests.lab.vm import Vm

pytestmark = pytest.mark.one_host

STATUS = "kvmlun status --json"


class House:
    """One running VM, started again where a row has left none."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.vm: Vm | None = None

    @property
    def host(self) -> machine.Machine:
        return self.stage.kvms[0]

    def open(self) -> Vm:
        if self.vm is None:
            self.stage.clear()
            vm = self.stage.vm("vm1", [self.stage.volume("vm1")])
            vm.start(self.host)
            self.vm = vm
        return self.vm

    def close(self) -> None:
        if self.vm:
            self.vm.shutdown(self.host)
            self.stage.wait_clean()
            self.vm.check_data(self.stage.san)
        self.stage.clear()


@pytest.fixture(scope="module")
def house(installed: Stage) -> Iterator[House]:
    made = House(installed)
    yield made
    made.close()


@pytest.fixture
def vm(house: House, failed) -> Iterator[Vm]:
    """The VM; afterwards its guest must have written, and the host have what it had before."""
    vm = house.open()
    before = look(house.host)
    yield vm
    if failed():
        house.vm = None
        return
    vm.wait_writes(house.host)
    assert look(house.host) == before


@pytest.fixture
def host(house: House) -> machine.Machine:
    return house.host


@pytest.fixture
def kvmlun(house: House) -> None:
    if house.stage.peer.name != "kvmlun":
        pytest.skip("only kvmlun has a daemon")


def look(host: machine.Machine) -> tuple[object, ...]:
    state = observe.observe(host)
    links = {link: disk for link, disk in state.links.items() if "by-diskseq" not in link}
    return state.sessions, state.disks, links, state.records


def pid(host: machine.Machine, unit: str) -> str:
    return host.run(["systemctl", "show", "-P", "MainPID", unit]).out.strip()


def kill(host: machine.Machine, unit: str) -> None:
    """Kill a daemon and wait until systemd has started it again."""
    before = pid(host, unit)
    host.run(["kill", "-9", before])

    def again() -> bool:
        active = host.run(["systemctl", "is-active", "--quiet", unit], check=False).rc == 0
        return active and pid(host, unit) not in ("0", before)

    wait_for(f"{unit} after its death", again, 60)


def state_of_lun(host: machine.Machine) -> str:
    (lun,) = json.loads(host.run(STATUS).out)["luns"]
    return str(lun["state"])


# daemons


def test_kvmlund_killed(vm: Vm, host, kvmlun) -> None:
    kill(host, "kvmlund.service")
    wait_for("kvmlund's view", lambda: state_of_lun(host) == "in-use", 30)


def test_libvirtd_restarted(vm: Vm, host) -> None:
    host.run(["systemctl", "restart", "libvirtd"])
    assert vm.state(host) == "running"


def test_libvirtd_killed(vm: Vm, host) -> None:
    kill(host, "libvirtd.service")
    wait_for("libvirt", lambda: vm.state(host) == "running", 60)


def test_iscsid_killed(vm: Vm, host) -> None:
    """Sessions are the kernel's; systemd starts iscsid again for whoever asks it next."""
    before = host.run("pgrep -x iscsid").out.split()
    host.run("pkill -9 -x iscsid")
    vm.wait_writes(host)
    host.run("systemctl restart iscsid")
    wait_for(
        "iscsid",
        lambda: set(host.run("pgrep -x iscsid", check=False).out.split()) - set(before),
        30,
    )
    host.run("iscsiadm -m session")
    wait_for("the session", lambda: "LOGGED_IN" in str(observe.observe(host).sessions), 60)


def test_open_iscsi_restarted(vm: Vm, host) -> None:
    """Its stop logs out of everything, unless something tells it not to."""
    host.run("systemctl start open-iscsi && systemctl restart open-iscsi")


# udev


def test_udevadm_trigger(vm: Vm, host) -> None:
    host.run("udevadm trigger --settle", timeout=120)


@pytest.mark.campaign
def test_a_storm_of_udev_events(vm: Vm, host, kvmlun) -> None:
    """5,000 events of the kind that it follows, while it answers."""
    daemon = pid(host, "kvmlund.service")
    device = "/sys/class/iscsi_session/session*/uevent"
    host.run(f"for i in $(seq 5000); do echo change >{device}; done; kvmlun status", 300)
    host.run("udevadm settle -t 300", 310)
    wait_for("kvmlund's view", lambda: state_of_lun(host) == "in-use", 30)
    assert pid(host, "kvmlund.service") == daemon


# the VM itself


def test_suspend_and_resume(vm: Vm, host) -> None:
    host.run(["virsh", "suspend", vm.uuid])
    assert vm.state(host) == "paused"
    host.run(["virsh", "resume", vm.uuid])


def test_reset(vm: Vm, host) -> None:
    boots = len(re.findall("^GUEST-UP", vm.console(host), re.MULTILINE))
    host.run(["virsh", "reset", vm.uuid])
    vm.wait_console(host, "^GUEST-UP", times=boots + 1)


def test_redefined_without_our_metadata(vm: Vm, host, kvmlun) -> None:
    host.run(["virsh", "define", "/dev/stdin"], input=vm.xml())
    ours = f"virsh metadata {vm.uuid} https://kvmlun.github.io/ns/domain/1 --config"
    wwid = vm.volumes[0].wwid
    wait_for("the metadata", lambda: wwid in host.run(ours, check=False).out, 30)


# storage


def cut(host: machine.Machine, seconds: float) -> float:
    """Cut the storage network for a while; return how long the drop took to show, -1 if never."""
    shown = -1.0
    host.cut("san_a")
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            kernel = host.run("cat /sys/class/iscsi_session/session*/state").out.strip()
            if shown < 0 and kernel != "LOGGED_IN":
                dropped = time.monotonic()
                wait_for("the drop in status", lambda: state_of_lun(host) == "down", 20)
                shown = time.monotonic() - dropped
            host.run("kvmlun volume list")
    finally:
        host.restore("san_a")
    return shown


def test_storage_cut_for_5_seconds(vm: Vm, host, kvmlun) -> None:
    """Shorter than the ping's patience: nobody notices, not even the session."""
    cut(host, 5)
    vm.wait_writes(host)


def test_storage_cut_for_60_seconds(vm: Vm, host, kvmlun) -> None:
    """The session drops, which shows at once; the guest's I/O waits and goes on.

    Who asks for the LUN just then gets a child of kvmlund stuck in the kernel, and nothing else.
    """
    stuck = host.spawn(f"timeout 90 kvmlun connect {vm.name}-0 --ttl 1")
    shown = cut(host, 60)
    assert 0 <= shown < 4, "2 s, and what two commands over ssh take here"
    wait_for("the session", lambda: state_of_lun(host) == "in-use", 60)
    assert "LOGGED_IN -> FAILED" in host.run("journalctl -u kvmlund -o cat --since -2min").out
    assert vm.state(host) == "running"
    assert len(stuck.wait(60).err.splitlines()) <= 1


# /run, locks


@pytest.fixture
def other(vm: Vm, house: House, kvmlun) -> Iterator[Vm]:
    """A second VM, not started yet; afterwards its session must go."""
    made = house.stage.vm("vm2", [house.stage.volume("vm2")])
    yield made
    house.host.run(["virsh", "destroy", made.uuid], check=False)
    house.host.run(["virsh", "undefine", made.uuid])
    iqn = made.volumes[0].iqn
    wait_for("vm2's session to go", lambda: iqn not in observe.observe(house.host).targets, 60)
    house.stage.san.delete(iqn)


def test_run_full(other: Vm, host) -> None:
    """What can't be written down first is not begun, and a running VM does not notice."""
    host.run("mount -t tmpfs -o size=64k tmpfs /run/kvmlun/leases")
    try:
        host.run("cat /dev/zero >/run/kvmlun/leases/fill", check=False)
        told = host.run(["virsh", "start", other.uuid], check=False)
    finally:
        host.run("umount /run/kvmlun/leases")
    assert "No space left on device; nothing was done" in told.err
    assert len(observe.observe(host).sessions) == 1
    other.start(host, writing=False)


def test_a_stale_lock_of_open_iscsi(other: Vm, host) -> None:
    """iscsiadm leaves it when it is killed; the next one waits 30 s, or fails for ever."""
    host.run("install -d -m 700 /run/lock/iscsi; touch /run/lock/iscsi/lock")
    host.run("ln /run/lock/iscsi/lock /run/lock/iscsi/lock.write")
    other.start(host, writing=False)
    assert host.run("test -e /run/lock/iscsi/lock.write", check=False).rc != 0
