"""LUNs with two portals: a map where multipathd runs, one path where it does not."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.lab import CommandFailed, observe, san, wait_for
from tests.lab.machine import Machine
from tests.lab.stage import Stage
from tests.lab.test_disturbed import state_of_lun
from tests.lab.vm import Vm

pytestmark = pytest.mark.one_host
OTHER_LINKS = [
    pytest.param(name, marks=pytest.mark.campaign) for name in ("scsi-3", "dm-uuid-mpath-3")
]
ONLY_KVMLUN = "the naive hook knows one portal"


@pytest.fixture
def host(s: Stage) -> Machine:
    return s.kvms[0]


@pytest.fixture
def volume(s: Stage) -> san.Volume:
    return s.volume("vm1", portals=s.san.portals())


def paths(s: Stage) -> int:
    """How many paths the one map has, 0 without a map."""
    maps = list(s.states()[0].maps.values())
    return len(maps[0]) if len(maps) == 1 else 0


def active(host: Machine) -> int:
    """How many of its paths multipathd would use now."""
    shown = host.run(["multipathd", "show", "paths", "format", "%d %t"]).out
    return sum(line.endswith(" active") for line in map(str.strip, shown.splitlines()))


@contextlib.contextmanager
def multipath_conf(host: Machine, text: str) -> Iterator[None]:
    host.put(text.encode(), "/etc/multipath.conf")
    try:
        host.run("multipathd reconfigure")
        yield
    finally:
        host.run("rm -f /etc/multipath.conf /etc/multipath/bindings; multipathd reconfigure")


def ends_clean(s: Stage, vm: Vm) -> None:
    vm.destroy(s.kvms[0])
    s.wait_clean()
    vm.check_data(s.san)


@pytest.mark.parametrize("prefix", ["wwn-0x", *OTHER_LINKS])
def test_the_vm_gets_the_map(s: Stage, host: Machine, volume: san.Volume, prefix: str) -> None:
    link = f"/dev/disk/by-id/{prefix}{volume.wwid.removeprefix('naa.')}"
    vm = s.vm("vm1", [volume], links=[link])
    vm.start(host)
    state = s.states()[0]
    (name,) = state.maps
    assert state.links[link] == name and sorted(state.maps[name]) == sorted(state.disks)
    assert len(state.sessions) == 2
    (lun,) = [each for each in observe.status(host)["luns"] if each["wwid"] == volume.wwid]
    assert lun["device"] == f"/dev/{name}" and len(lun["sessions"]) == 2
    ends_clean(s, vm)


@pytest.mark.campaign
def test_one_path_cut_and_restored(s: Stage, host: Machine, volume: san.Volume) -> None:
    vm = s.vm("vm1", [volume])
    vm.start(host)
    wait_for("both paths", lambda: active(host) == 2, 30)
    for network in ("san_a", "san_b"):
        with host.cut(network):
            wait_for("one path", lambda: active(host) == 1, 60)
            assert state_of_lun(host) == "degraded"
            vm.wait_writes(host)
        wait_for("both paths", lambda: active(host) == 2, 90)
        vm.wait_writes(host)
    assert vm.state(host) == "running"
    ends_clean(s, vm)


@pytest.mark.campaign
def test_a_path_that_comes_back_with_another_lun(s: Stage, host: Machine) -> None:
    """It leaves the map, the VM runs on by the other one, and it joins when it is right again."""
    volume = s.san.create(f"{s.base}:vm1", portals=s.san.portals(), apart=True)
    vm = s.vm("vm1", [volume])
    vm.start(host)
    wait_for("both paths", lambda: active(host) == 2, 30)
    with host.cut("san_b"):
        wait_for("one path", lambda: active(host) == 1, 60)
        s.san.swap(volume, group=2)
    wait_for("its loss", lambda: paths(s) == 1, 90)
    assert "vm1 loses a path: " in host.run("journalctl -u kvmlund").out
    vm.wait_writes(host, 80)
    s.san.swap(volume, serial=volume.serial, path=volume.path, group=2)
    wait_for("both paths", lambda: active(host) == 2, 90)
    vm.wait_writes(host, 80)
    assert vm.state(host) == "running"
    ends_clean(s, vm)


def test_a_start_with_a_dead_portal_and_its_return(
    s: Stage, host: Machine, volume: san.Volume
) -> None:
    vm = s.vm("vm1", [volume])
    with host.cut("san_b"):
        vm.start(host)
        assert paths(s) == 1
    wait_for("the second path", lambda: paths(s) == 2 and active(host) == 2, 90)
    with host.cut("san_a"):
        wait_for("the loss of the first", lambda: state_of_lun(host) == "degraded", 60)
        vm.wait_writes(host)
    wait_for("its return", lambda: state_of_lun(host) == "in-use", 90)
    ends_clean(s, vm)


@pytest.mark.campaign
def test_a_path_joins_on_a_busy_host(s: Stage, host: Machine, volume: san.Volume) -> None:
    """Where a process takes seconds to start: no VM waits for this path, so it has the time."""
    vm = s.vm("vm1", [volume])
    with host.cut("san_b"):
        vm.start(host)
    busy = [host.spawn("while :; do :; done") for _ in range(6)]
    try:
        wait_for("the second path", lambda: paths(s) == 2, 180)
    finally:
        for each in busy:
            each.stop()
    ends_clean(s, vm)


@pytest.mark.campaign
def test_min_paths(s: Stage, host: Machine, volume: san.Volume) -> None:
    vm = s.vm("vm1", [volume])
    s.peer.know(host, "vm1", [volume], min_paths=2)
    with host.cut("san_b"):
        with pytest.raises(CommandFailed) as refused:
            vm.start(host, writing=False)
    told = refused.value.err.strip().splitlines()[-1]
    assert "volume vm1-0: " in told and volume.portals[1] in told
    s.wait_clean()
    vm.start(host)
    assert paths(s) == 2
    ends_clean(s, vm)


@pytest.mark.campaign
def test_a_by_path_source_of_a_mapped_lun(s: Stage, host: Machine, volume: san.Volume) -> None:
    vm = s.vm("vm1", [volume], by_path=True)
    host.run("kvmlun connect vm1-0")
    with pytest.raises(CommandFailed) as refused:
        vm.start(host, writing=False)
    assert f"name the disk {volume.by_id}" in refused.value.err
    host.run("kvmlun disconnect vm1-0")
    s.wait_clean()
    # Nothing has it as a path now: it is used as it is.
    vm.start(host)
    assert paths(s) == 0 and len(s.states()[0].sessions) == 1
    ends_clean(s, vm)


@pytest.mark.campaign
def test_an_idle_disk_of_one_path_gets_its_map(s: Stage, host: Machine, volume: san.Volume) -> None:
    """It is on multipath's blacklist until then."""
    s.peer.configure(host, grace=60)
    vm = s.vm("vm1", [volume], by_path=True)
    vm.start(host)
    vm.destroy(host)
    (disk,) = s.states()[0].disks
    assert disk not in host.run("multipathd show paths format %d").out.split()
    vm.links = [volume.by_id]
    vm.define(host)
    vm.start(host)
    assert paths(s) == 2
    s.peer.configure(host)
    ends_clean(s, vm)


def test_without_multipathd_one_path_is_used(s: Stage, host: Machine, volume: san.Volume) -> None:
    vm = s.vm("vm1", [volume])
    host.run("systemctl mask --runtime --now multipathd.socket multipathd")
    try:
        vm.start(host)
        assert paths(s) == 0 and len(s.states()[0].sessions) == 1
        ends_clean(s, vm)
    finally:
        host.run("systemctl unmask --runtime multipathd.socket multipathd")
        host.run("systemctl start multipathd.socket multipathd")


@pytest.mark.campaign
def test_kvmlund_killed_with_a_map(s: Stage, host: Machine, volume: san.Volume) -> None:
    vm = s.vm("vm1", [volume])
    vm.start(host)
    host.kill_daemon("kvmlund")
    wait_for("kvmlund", lambda: host.run("kvmlun status", check=False).rc == 0, 30)
    assert paths(s) == 2
    vm.wait_writes(host)
    ends_clean(s, vm)


@pytest.mark.campaign
def test_all_paths_gone(s: Stage, host: Machine, volume: san.Volume) -> None:
    """multipath queues for LIO's disks (a minute long): the guest waits, and goes on."""
    vm = s.vm("vm1", [volume])
    vm.start(host)
    wait_for("both paths", lambda: active(host) == 2, 30)
    with host.cut("san_a"), host.cut("san_b"):
        wait_for("no path", lambda: active(host) == 0, 60)
        assert vm.state(host) == "running"
        assert state_of_lun(host) == "down"
    vm.wait_writes(host)
    ends_clean(s, vm)


@pytest.mark.campaign
def test_a_vm_that_is_stopped_while_all_paths_are_gone(
    s: Stage, host: Machine, volume: san.Volume
) -> None:
    """It can't end while the map queues its I/O; after the documented command it does."""
    with multipath_conf(host, "overrides {\n no_path_retry queue\n}\n"):
        vm = s.vm("vm1", [volume])
        vm.start(host)
        wait_for("both paths", lambda: active(host) == 2, 30)
        with host.cut("san_a"), host.cut("san_b"):
            wait_for("no path", lambda: active(host) == 0, 60)
            since = host.run("date +%s").out.strip()
            host.spawn(["virsh", "destroy", vm.uuid])
            gave_up = f"journalctl -u libvirtd --since @{since} | grep -c 'with SIGKILL'"
            wait_for("libvirt to give up", lambda: host.run(gave_up, check=False).rc == 0, 120)
            assert host.run("pgrep qemu-system").out
            host.run("multipathd disablequeueing maps")
            wait_for("the VM to end", lambda: vm.state(host) == "shut off", 60)
            wait_for("its map to go", lambda: not s.states()[0].maps, 60)
        s.wait_clean()


@pytest.mark.campaign
def test_hands_off_the_map(s: Stage, host: Machine, volume: san.Volume) -> None:
    """A volume group and a label on the disk, as a guest would have put them there."""
    offset = 16 << 20
    s.san.host.run(
        f"dev=$(losetup -f --show {volume.path}) && vgcreate -y guestvg $dev && "
        "lvcreate -y -Wn -l 50%FREE -n root guestvg; vgchange -an guestvg; losetup -d $dev",
        timeout=120,
    )
    before = s.san.read(volume, 0, offset)
    vm = s.vm("vm1", [volume], offset=offset)
    vm.start(host)
    wait_for("both paths", lambda: active(host) == 2, 30)
    with host.cut("san_b"):
        wait_for("one path", lambda: active(host) == 1, 60)
    wait_for("both paths", lambda: active(host) == 2, 90)
    host.run("udevadm trigger --settle --subsystem-match=block")
    (name,) = s.states()[0].maps
    assert host.run(f"ls /sys/block/{name}/holders").out == ""
    shown = host.run(f"udevadm info -q property /dev/{name}").out
    assert "ID_FS_TYPE=LVM" not in shown and "KVMLUN_GUEST=1" in shown
    assert "guestvg" not in host.run("ls /dev/mapper /dev").out
    ends_clean(s, vm)
    assert any(before) and s.san.read(volume, 0, offset) == before


@pytest.mark.campaign
def test_a_map_under_another_name(s: Stage, host: Machine, volume: san.Volume) -> None:
    """multipath's commands know a map by its alias."""
    with multipath_conf(host, "defaults {\n user_friendly_names yes\n}\n"):
        vm = s.vm("vm1", [volume])
        vm.start(host)
        (name,) = s.states()[0].maps
        assert host.run(f"cat /sys/block/{name}/dm/name").out.startswith("mpath")
        ends_clean(s, vm)


@pytest.mark.campaign
def test_a_map_of_the_operators(s: Stage, host: Machine, volume: san.Volume) -> None:
    """Made by hand before kvmlun was asked: used, and there afterwards."""
    login = "; ".join(
        f"iscsiadm -m node -T {volume.iqn} -p {portal} -o new && "
        f"iscsiadm -m node -T {volume.iqn} -p {portal} --login"
        for portal in volume.portals
    )
    wwid = f"3{volume.wwid.removeprefix('naa.')}"
    host.run(f"{login}; udevadm settle; multipath -a {volume.by_id}; multipath {wwid}")
    try:
        wait_for("the map", lambda: paths(s) == 2, 30)
        vm = s.vm("vm1", [volume])
        vm.start(host)
        vm.destroy(host)
        s.another_comes_and_goes()
        assert paths(s) == 2 and s.states()[0].listed == (wwid,)
    finally:
        host.run(f"multipath -f {wwid}; multipath -w {wwid}", check=False)
        host.run(f"iscsiadm -m node -T {volume.iqn} --logout", check=False)
        host.run(f"iscsiadm -m node -T {volume.iqn} -o delete", check=False)
