"""The host's own iSCSI disks: what stock Debian makes of them, kvmlun leaves as it is."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.lab import hands, own, san, wait_for
from tests.lab.machine import Machine
from tests.lab.stage import Stage
from tests.lab.vm import Vm

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "the naive hook has no rules for udev"

BOOT_SECONDS = 180

# A volume group on the first LUN, a partition on the second.
_DATA = """
set -e
name="-T {iqn} -p {portal}"
iscsiadm -m node $name -o new
iscsiadm -m node $name -o update -n node.startup -v automatic
iscsiadm -m node $name --login
udevadm settle
vgcreate -qy iscsivg {disk}
lvcreate -qy -Wn -l 50%FREE -n data iscsivg
mkfs.ext4 -q -L owndata /dev/iscsivg/data
echo type=L | sfdisk -q --label gpt {other}
udevadm settle
mkfs.ext4 -q -L ownpart {other}-part1
udevadm settle
mkdir -p {folder}
cp /etc/fstab {folder}/fstab
mkdir -p /srv/data /srv/part
echo "/dev/iscsivg/data /srv/data ext4 _netdev,nofail 0 0" >>/etc/fstab
echo "UUID=$(blkid -o value -s UUID {other}-part1) /srv/part ext4 _netdev,nofail 0 0" >>/etc/fstab
systemctl daemon-reload
mount -a
"""
_NO_DATA = """
cp {folder}/fstab /etc/fstab
umount /srv/data /srv/part
vgchange -an iscsivg
iscsiadm -m node -T {iqn} --logout
iscsiadm -m node -T {iqn} -o delete
systemctl daemon-reload
true
"""
_MOUNTED = "findmnt -rno TARGET,FSTYPE,LABEL,UUID "

_ROOT_UNIT = """\
[Unit]
DefaultDependencies=no
After=lab-host.service systemd-udevd.service systemd-modules-load.service
Before=iscsid.socket open-iscsi.service sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=modprobe iscsi_tcp
ExecStart=iscsistart -i {initiator} -t {iqn} -g 1 -a {address} -p {port}
ExecStart=udevadm settle
ExecStart=mkdir -p /srv/root
ExecStart=mount {disk} /srv/root
[Install]
WantedBy=sysinit.target
"""


@pytest.fixture
def host(s: Stage) -> Machine:
    return s.kvms[0]


@contextlib.contextmanager
def data_disks(s: Stage, host: Machine) -> Iterator[list[san.Volume]]:
    volumes = [s.volume("own", number) for number in (0, 1)]
    disk, other = (volume.by_id for volume in volumes)
    names = {"iqn": volumes[0].iqn, "portal": volumes[0].portal, "folder": own.FOLDER}
    try:
        host.run(_DATA.format(disk=disk, other=other, **names), timeout=120)
        yield volumes
    finally:
        host.run(_NO_DATA.format(**names), timeout=120)


def properties(host: Machine, volumes: list[san.Volume]) -> list[str]:
    """All that udev has of these disks, and of what is on them, once all its rules have run.

    Word by word, since udev orders neither properties nor links.
    """
    host.run("udevadm control --reload; udevadm trigger --settle --subsystem-match=block")
    names = [f"{volume.by_id}*" for volume in volumes]
    info = f"udevadm info -q all $(ls -d {' '.join(names)}) /dev/iscsivg/data"
    return sorted(host.run(f"{info} | grep -v SEQNUM").out.replace("=", "= ").split())


def comes_and_goes(s: Stage, vm: Vm, host: Machine, its_own: san.Volume) -> None:
    vm.start(host)
    vm.destroy(host)
    wait_for("its LUN to go", lambda: s.states()[0].targets == [its_own.iqn], 60)


@pytest.mark.campaign
def test_data_disks(s: Stage, host: Machine) -> None:
    vm = s.vm("vm1", [s.volume("vm1")])
    with data_disks(s, host) as volumes:
        ours = properties(host, volumes)
        rules = "/etc/udev/rules.d/50-kvmlun.rules /etc/udev/rules.d/58-kvmlun-map.rules"
        host.run(f"for file in {rules}; do ln -s /dev/null $file; done")
        try:
            assert properties(host, volumes) == ours
        finally:
            host.run(f"rm {rules}; udevadm control --reload")
        before, sessions = hands.look(host, vm.volumes)[0], s.states()[0].sessions
        mounted = host.run(f"{_MOUNTED} /srv/data; {_MOUNTED} /srv/part").out
        assert "owndata" in mounted and "ownpart" in mounted
        host.run("echo kept | tee /srv/data/file >/srv/part/file")
        vm.start(host)
        assert hands.look(host, vm.volumes)[0] == before
        host.run("lvextend -qy -l +5 -r iscsivg/data && lvcreate -qy -Wn -l 1 -n more iscsivg")
        host.run("lvremove -qy iscsivg/more")
        vm.destroy(host)
        s.another_comes_and_goes()
        assert s.states()[0].sessions == sessions

        host.run(["virsh", "autostart", vm.uuid])
        host.reboot()
        wait_for("vm1", lambda: vm.is_running(host), BOOT_SECONDS)
        vm.wait_writes(host)
        assert host.run(f"{_MOUNTED} /srv/data; {_MOUNTED} /srv/part").out == mounted
        assert host.run("cat /srv/data/file /srv/part/file").out == "kept\nkept\n"
        sessions = s.states()[0].sessions
        vm.destroy(host)
        wait_for("its LUN to go", lambda: s.states()[0].targets == [volumes[0].iqn], 60)
        assert s.states()[0].sessions.items() <= sessions.items()
        vm.check_data(s.san)


@pytest.mark.campaign
def test_a_disk_from_before_the_boot(s: Stage, host: Machine) -> None:
    """As a root disk: its session is made before open-iscsi, has no record and is never ended.

    The lab's hosts boot from another disk, so open-iscsi is told that this one's mount must stay.
    """
    root, unit = s.volume("root"), "/etc/systemd/system/lab-root.service"
    s.san.host.run(f"mke2fs -q -F -t ext4 -L iscsiroot {root.path}")
    address, _, port = root.portal.rpartition(":")
    text = _ROOT_UNIT.format(
        initiator=host.initiator, iqn=root.iqn, address=address, port=port, disk=root.by_id
    )
    vm = s.vm("vm1", [s.volume("vm1")])
    host.put(text.encode(), unit)
    stay = "s,^EXCLUDE_MOUNTS_AT_SHUTDOWN=.*,EXCLUDE_MOUNTS_AT_SHUTDOWN={},"
    host.run(f"sed -i '{stay.format('/srv/root')}' /etc/default/open-iscsi")
    host.run("systemctl enable lab-root")
    try:
        host.reboot()
        host.run("echo kept >/srv/root/file")
        before, _ = hands.look(host, vm.volumes)
        sessions = s.states()[0].sessions
        assert [target for target, _ in sessions.values()] == [root.iqn]
        for command in ("true", "systemctl restart kvmlund", "systemctl restart iscsid"):
            host.run(command)
            comes_and_goes(s, vm, host, root)
            assert hands.look(host, vm.volumes)[0] == before
            assert s.states()[0].sessions == sessions
        vm.start(host)
        host.run("systemctl restart open-iscsi", timeout=120)
        vm.wait_writes(host)
        assert hands.look(host, vm.volumes)[0] == before
        vm.destroy(host)
        wait_for("its LUN to go", lambda: s.states()[0].targets == [root.iqn], 60)
        assert s.states()[0].sessions == sessions
        assert host.run("cat /srv/root/file").out == "kept\n"
        vm.check_data(s.san)
    finally:
        host.run(f"sed -i '{stay.format('')}' /etc/default/open-iscsi")
        host.run(f"systemctl disable lab-root; rm {unit}; systemctl daemon-reload")
        host.run("umount /srv/root; iscsiadm -m session --logout", check=False)
