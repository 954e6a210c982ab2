"""What happens to a host while a VM runs on it: the guest writes on, and nothing is logged out.

The rows share one VM, which each of them leaves running.
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import machine, observe, overflow, wait_for
from tests.lab.shared_vm import Resident
from tests.lab.stage import Stage
from tests.lab.vm import Vm

pytestmark = pytest.mark.one_host


@pytest.fixture
def vm(shared_resident: Resident, host, failed) -> Iterator[Vm]:
    """The VM; afterwards its guest must have written, and the host have what it had before."""
    vm = shared_resident.open()
    before = look(host)
    yield vm
    if failed():
        shared_resident.lost()
        return
    vm.wait_writes(host)
    assert look(host) == before


@pytest.fixture
def host(shared_resident: Resident) -> machine.Machine:
    return shared_resident.here


def look(host: machine.Machine) -> tuple[object, ...]:
    state = observe.observe(host)
    links = {link: disk for link, disk in state.links.items() if "by-diskseq" not in link}
    return state.sessions, state.disks, links, state.records


def kill(host: machine.Machine, unit: str) -> None:
    """Kill a daemon and wait until systemd has started it again."""
    before = host.main_pid(unit)
    host.kill_daemon(unit)

    def again() -> bool:
        active = host.run(["systemctl", "is-active", "--quiet", unit], check=False).rc == 0
        return active and host.main_pid(unit) not in ("0", before)

    wait_for(f"{unit} after its death", again, 60)


def state_of_lun(host: machine.Machine) -> str:
    (lun,) = observe.status(host)["luns"]
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


def flood(host: machine.Machine, count: int, padding: int = 0) -> None:
    """Send that many events of the guest's disk, each some bytes longer than udev's own."""
    program = "/usr/local/lib/kvmlun-lab/overflow.py"
    host.put(Path(overflow.__file__), program)
    (disk,) = observe.observe(host).disks
    host.run(["python3", program, disk, str(count), str(padding)], timeout=300)


@pytest.mark.campaign
def test_a_storm_of_udev_events(vm: Vm, host, kvmlun) -> None:
    """5,000 events of the disk that it follows, while it answers."""
    daemon = host.main_pid("kvmlund.service")
    flood(host, 5000)
    host.run("kvmlun status")
    wait_for("kvmlund's view", lambda: state_of_lun(host) == "in-use", 30)
    assert host.main_pid("kvmlund.service") == daemon


@pytest.mark.campaign
def test_an_overflow_of_udev_events(vm: Vm, host, kvmlun) -> None:
    """More than the socket's buffer holds (twice 64 MiB), all of them while it could not read."""
    with host.frozen("kvmlund.service") as daemon:
        flood(host, 6500, padding=24 << 10)
    lost = "journalctl -u kvmlund -o cat --since -5min | grep 'lost udev events'"
    wait_for("the overflow to be seen", lambda: host.run(lost, check=False).out, 60)
    wait_for("kvmlund's view", lambda: state_of_lun(host) == "in-use", 60)
    assert host.main_pid("kvmlund.service") == daemon


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


def cut(host: machine.Machine, seconds: float) -> None:
    """Cut the storage network for a while, in which kvmlund answers, and tells of a drop."""
    with host.cut("san_a"):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            kernel = host.run("cat /sys/class/iscsi_session/session*/state").out.strip()
            if kernel != "LOGGED_IN":
                wait_for("the drop in status", lambda: state_of_lun(host) == "down", 20)
            host.run("kvmlun volume list")


def told_after(host: machine.Machine) -> float:
    """Return how long after the kernel's line kvmlund told of the last drop, by the journal."""
    journal = host.run("journalctl -b -o short-unix --no-pager", timeout=120).out.splitlines()

    def last(text: str) -> float:
        return float(next(line for line in reversed(journal) if text in line).split()[0])

    return last("LOGGED_IN -> FAILED") - last("detected conn error")


def test_storage_cut_for_5_seconds(vm: Vm, host, kvmlun) -> None:
    """Shorter than the ping's patience: nobody notices, not even the session."""
    cut(host, 5)
    vm.wait_writes(host)


@pytest.mark.campaign
def test_storage_cut_for_60_seconds(vm: Vm, host, kvmlun) -> None:
    """The session drops, which shows at once; the guest's I/O waits and goes on.

    Who asks for the LUN just then gets a child of kvmlund stuck in the kernel, and nothing else.
    """
    stuck = host.spawn(f"timeout 90 kvmlun connect {vm.name}-0 --ttl 1")
    cut(host, 60)
    assert 0 <= told_after(host) < 2
    wait_for("the session", lambda: state_of_lun(host) == "in-use", 60)
    assert vm.state(host) == "running"
    assert len(stuck.wait(60).err.splitlines()) <= 1


@pytest.mark.campaign
def test_storage_cut_past_the_replacement_timeout(vm: Vm, host, kvmlun) -> None:
    """120 s: the kernel fails the guest's writes, and the VM pauses instead of losing any.

    Nothing is logged out. When the network is back so is the session; an operator resumes the VM.
    """
    with host.cut("san_a"):
        wait_for("the VM to pause", lambda: vm.state(host) == "paused", 240)
        assert "I/O error" in host.run(["virsh", "domstate", "--reason", vm.uuid]).out
        assert state_of_lun(host) == "down"
    wait_for("the session", lambda: state_of_lun(host) == "in-use", 120)
    assert vm.state(host) == "paused"
    host.run(["virsh", "resume", vm.uuid])


# /run, locks


@pytest.fixture
def other(vm: Vm, installed: Stage, host, kvmlun) -> Iterator[Vm]:
    """A second VM, not started yet; afterwards its session must go."""
    made = installed.vm("vm2", [installed.volume("vm2")])
    yield made
    host.run(["virsh", "destroy", made.uuid], check=False)
    host.run(["virsh", "undefine", made.uuid])
    iqn = made.volumes[0].iqn
    wait_for("vm2's session to go", lambda: iqn not in observe.observe(host).targets, 60)
    installed.san.delete(iqn)


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
