"""kvmlun doctor on real hosts: nothing on a clean one, else exactly what was broken."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.lab import doctor, hostile, remote, san, tgt, wait_for
from tests.lab.breaks import BREAKS, UNKNOWN
from tests.lab.machine import Machine
from tests.lab.pool import Pools
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "only kvmlun has a doctor"

SECONDS = 60
# One break of each check, and another one: in a campaign each has a row of its own as well.
_TOGETHER = {
    "some": (
        "kvmlund down", "hook gone", "no iscsid socket", "example initiator name",
        "open-iscsi 2.1.10", "open-iscsi stops all", "udev's rules", "lvm", "mdadm", "multipath",
        "clock",
    ),
    "others": (
        "configuration not in force", "hook without its program", "no file of initiator names",
        "open-iscsi without our drop-in", "udev's rules for maps", "lvm's filter",
        "mdadm's devices", "multipath's exceptions",
    ),
}  # fmt: skip


@pytest.fixture
def host(s: Stage, clean: None) -> Machine:
    return s.kvms[0]


@pytest.fixture
def lun(s: Stage, host: Machine) -> Iterator[san.Volume]:
    """A LUN that is here without a VM."""
    made = s.volume("data")
    with connected(s, host, made):
        yield made
    # iscsid ends no session that it has just found and tries to reconnect.
    s.wait_clean()


@contextlib.contextmanager
def connected(s: Stage, host: Machine, volume: san.Volume) -> Iterator[None]:
    s.know(host, "data", [volume])
    host.run("kvmlun connect data-0")
    yield
    host.run("kvmlun disconnect data-0")


@pytest.mark.parametrize("which", _TOGETHER)
def test_everything_at_once(host: Machine, which: str) -> None:
    wanted = [BREAKS[name] for name in _TOGETHER[which]]
    with contextlib.ExitStack() as broken:
        for each in wanted:
            broken.enter_context(doctor.broken(host, each))
        doctor.check_all(host, [(each.check, each.told) for each in wanted])
    assert host.run("kvmlun doctor").out == "nothing found\n"


@pytest.mark.campaign
@pytest.mark.parametrize("name", [n for n, each in BREAKS.items() if not each.lun])
def test_one_thing(host: Machine, name: str) -> None:
    with doctor.broken(host, BREAKS[name]):
        doctor.check_only(host, BREAKS[name].check, BREAKS[name].told)


@pytest.mark.campaign
@pytest.mark.parametrize("name", [n for n, each in BREAKS.items() if each.lun])
def test_one_thing_about_a_lun(host: Machine, lun: san.Volume, name: str) -> None:
    assert doctor.found(host, code=0) == []
    file = host.run(f"grep -lx {lun.iqn} /sys/class/iscsi_session/*/targetname").out.strip()
    with doctor.broken(host, BREAKS[name], session=file.removesuffix("/targetname")):
        doctor.check_only(host, BREAKS[name].check, BREAKS[name].told)


@pytest.mark.campaign
def test_what_can_not_be_asked_is_not_clean(host: Machine) -> None:
    """Meanwhile a terminal shows what is waited for."""
    with contextlib.ExitStack() as broken:
        for each in UNKNOWN:
            broken.enter_context(doctor.broken(host, each))
        doctor.check_all(host, [(each.check, each.told) for each in UNKNOWN], code=8)
        shown = host.run(remote.at_a_terminal("kvmlun doctor"), check=False).out
    assert "waiting for udev (5 s)" in shown
    nobody = host.run("runuser -u nobody kvmlun doctor", check=False)
    assert nobody.rc == 8 and "root" in nobody.err


@pytest.mark.campaign
def test_libvirt_stopped(host: Machine) -> None:
    """Nobody can tell then whether it would call the hook."""
    units = "libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket"
    host.run(f"systemctl stop {units} libvirtd")
    try:
        said = "can't ask libvirt"
        wait_for("kvmlund", lambda: said in host.run("kvmlun doctor", check=False).out, SECONDS)
        doctor.check_all(host, [("kvmlund", said), ("hook", "did not get as far as to a hook")])
    finally:
        host.run(f"systemctl start {units}")
    wait_for("kvmlund to reach it", lambda: not host.run("kvmlun doctor", check=False).rc, SECONDS)


@pytest.mark.campaign
def test_lvms_devices_file_in_place_of_a_filter(host: Machine) -> None:
    with doctor.broken(host, BREAKS["lvm"]):
        host.run(
            "printf 'devices {\\n\\tuse_devicesfile = 1\\n}\\n' >/etc/lvm/lvmlocal.conf; "
            "mkdir -p /etc/lvm/devices; touch /etc/lvm/devices/system.devices"
        )
        assert doctor.found(host, code=0) == []
        host.run("rm -r /etc/lvm/devices")
        doctor.check_only(host, BREAKS["lvm"].check, BREAKS["lvm"].told)


@pytest.mark.campaign
def test_a_pool_that_takes_a_disk_away(s: Stage, host: Machine, pools: Pools) -> None:
    """Somebody has it open, as a VM's QEMU would (test_pools.py has one)."""
    volume, _ = pools.vm("vm1", [host])
    assert doctor.found(host, code=0) == []
    host.run(f"systemd-run --unit=lab-opener sh -c 'exec sleep 1000 <{volume.by_id}'")
    try:
        wait_for(
            "the disk open", lambda: host.run(f"fuser -s {volume.by_id}", check=False).rc == 0, 20
        )
        doctor.check_only(host, "pools", "pool-destroy pool-vm1 would log out")
    finally:
        host.run("systemctl stop lab-opener")
    assert doctor.found(host, code=0) == []


@pytest.mark.campaign
def test_a_vm_that_waits_for_its_own_lun(s: Stage, host: Machine) -> None:
    """The array shows another one in its place for a while."""
    s.peer.configure(host, audit=5)
    volume = s.volume("vm1")
    vm = s.vm("vm1", [volume])
    vm.start(host)
    # What it had in flight would be on the other LUN.
    vm.command(host, "stop")
    vm.wait_console(host, "^GUEST-STOPPED")
    assert doctor.found(host, code=0) == []
    other = s.san.swap(volume)
    wait_for("the VM to be suspended", lambda: vm.state(host) == "paused", SECONDS)
    ((_, why),) = doctor.found(host)
    assert why.startswith("a VM waits for its own LUN: vm1: volume vm1-0") and other.wwid in why
    s.san.swap(volume, serial=volume.serial, path=volume.path)
    wait_for("the VM to go on", lambda: vm.state(host) == "running", SECONDS)
    assert doctor.found(host, code=0) == []
    vm.destroy(host)
    s.wait_clean()


# Targets, of LUNs that are to be fenced


@contextlib.contextmanager
def without_reservations(s: Stage) -> Iterator[san.Volume]:
    yield s.san.create(f"{s.base}:data", attributes={"emulate_pr": 0})


@contextlib.contextmanager
def without_full_status(s: Stage) -> Iterator[san.Volume]:
    """It has reservations, and does not tell whose they are."""
    octet, address = s.kvms[0].spec.octet, s.san.host.address("san_a")
    with tgt.lun(s.san.host, f"{s.base}:data", f"{address}:35{octet}3", octet * 10 + 3) as made:
        yield made


def without_preempt_and_abort(s: Stage) -> contextlib.AbstractContextManager[san.Volume]:
    return lying(s, "0008008022000000")


def without_type_5(s: Stage) -> contextlib.AbstractContextManager[san.Volume]:
    return lying(s, "0008008002000000")


@contextlib.contextmanager
def lying(s: Stage, capabilities: str) -> Iterator[san.Volume]:
    """No other target of the lab lacks just that; `capabilities` are those of SPC-5, 6.16.4."""
    host, port = s.kvms[0], 36000 + s.kvms[0].spec.octet
    iqn, portal = f"{s.base}:data", f"{s.san.host.address('san_a')}:{port}"
    says = {**hostile.GOOD, "reservations": capabilities}
    with hostile.running(s.san.host, f"{host.name}-doctor", {str(port): {}}, {iqn: says}):
        yield san.Volume(iqn, 0, (portal,), hostile.WWID, "", 64 << 20, "")


@pytest.mark.campaign
@pytest.mark.parametrize(
    "target, lacks",
    [
        (without_reservations, "no persistent reservations"),
        (without_full_status, "no persistent reservations with READ FULL STATUS"),
        (without_preempt_and_abort, "no PREEMPT AND ABORT"),
        (without_type_5, "no reservations of type 5"),
    ],
)
def test_a_target_that_can_not_fence(s: Stage, host: Machine, target, lacks: str) -> None:
    with target(s) as volume:
        with connected(s, host, volume):
            assert doctor.found(host, code=0) == []
        with connected(s.fenced(), host, volume):
            told = f"data-0 is to be fenced, and its target has {lacks}"
            doctor.check_only(host, "reservations", told)
        s.wait_clean()


@pytest.mark.campaign
def test_a_target_that_does_not_tell(s: Stage, host: Machine) -> None:
    volume = s.volume("data")
    with connected(s.fenced(), host, volume):
        assert doctor.found(host, code=0) == []
        s.san.delete(volume.iqn, volume.lun)
        doctor.check_only(host, "reservations", "what the target of data-0 can is unknown", code=8)


@pytest.mark.campaign
def test_the_question_leaves_nothing_behind(s: Stage, host: Machine) -> None:
    """libvirt has no domain of it, not even for a moment, and our journal no refusal."""
    events = host.spawn("exec stdbuf -oL virsh event --loop --all")
    try:
        first = s.vm("first", [])
        wait_for("an event", lambda: "first" in events.out, 20)
        assert doctor.found(host, code=0) == []
        last = s.vm("last", [])
        wait_for("another", lambda: "last" in events.out, 20)
        assert "kvmlun-doctor" not in events.out
    finally:
        events.stop()
    assert set(host.run("virsh list --all --name").out.split()) == {first.name, last.name}
    assert host.run("ls -d /run/kvmlun-doctor*", check=False).rc != 0
    assert host.run("journalctl -u kvmlund --since -1min | grep refused", check=False).rc == 1


_PROFILE = "/etc/apparmor.d/usr.sbin.libvirtd"
_LOCAL = "/etc/apparmor.d/local/usr.sbin.libvirtd"


@pytest.mark.campaign
def test_apparmor(host: Machine) -> None:
    """libvirt confined as on any Debian host, and then by one rule too many."""
    host.kernel.more.append("security=apparmor")
    try:
        host.reboot()
        host.run("virsh list")
        confined = host.run("cat /proc/$(pgrep -x libvirtd)/attr/current").out
        assert confined == "libvirtd (enforce)\n"
        assert doctor.found(host, code=0) == []
        host.run(f"echo 'deny /usr/sbin/kvmlun-hook x,' >>{_LOCAL}; apparmor_parser -r {_PROFILE}")
        doctor.check_only(host, "apparmor", "profile libvirtd")
    finally:
        host.run(f"rm -f {_LOCAL}; touch {_LOCAL}; apparmor_parser -r {_PROFILE}", check=False)
        host.kernel.more.remove("security=apparmor")
        host.reboot()
