"""What a host has of its own beside its guests' disks: a volume group, an array, a root."""

import contextlib
import dataclasses
from collections.abc import Iterator

from tests.lab import machine

FOLDER = "/var/lib/lab/own"
MOUNT = "/mnt/own"
ARRAY, MEMBER, MEMBER_FILE = "/dev/md/own", "/dev/loop2", f"{FOLDER}/md"
_SIZE = "16M"

# After a boot udev finds the array and the volume group on the loop devices, as on any disk.
_UNIT = f"""\
[Unit]
Before=kvmlund.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=modprobe loop
ExecStart=losetup /dev/loop1 {FOLDER}/vg
ExecStart=losetup {MEMBER} {MEMBER_FILE}
ExecStart=udevadm wait --timeout=60 --settle /dev/{{vg}}/data {ARRAY}
ExecStart=mkdir -p {MOUNT}
ExecStart=mount -t ext4 /dev/{{vg}}/data {MOUNT}
[Install]
WantedBy=multi-user.target
"""

_MAKE = f"""
set -e
mkdir -p {FOLDER} {MOUNT}
cd {FOLDER}
tar -C /etc -cf etc.tar lvm mdadm
modprobe loop
truncate -s {_SIZE} vg md lost foreign
losetup /dev/loop1 vg
losetup {MEMBER} {MEMBER_FILE}
losetup /dev/loop3 lost
losetup /dev/loop4 foreign
vgcreate -qy {{vg}} /dev/loop1
lvcreate -qy -Wn -l 50%FREE -n data {{vg}}
mkfs.ext4 -q -L own /dev/{{vg}}/data
mount /dev/{{vg}}/data {MOUNT}
mdadm -q --create {ARRAY} --run -l 1 -n 2 {MEMBER} /dev/loop3
mdadm -q --create /dev/md/foreign --homehost=other --run -l 1 -n 2 /dev/loop4 missing
mdadm -q --detail --brief {ARRAY} >>/etc/mdadm/mdadm.conf
mdadm --wait {ARRAY} || true
mdadm -q {ARRAY} --fail /dev/loop3
mdadm -q {ARRAY} --remove /dev/loop3
mdadm -q --stop /dev/md/foreign
losetup -d /dev/loop3 /dev/loop4
systemctl daemon-reload
systemctl enable lab-own
udevadm settle
"""
_DROP = f"""
umount {MOUNT}
vgchange -an
mdadm --stop --scan
losetup -D
swapoff -a
systemctl disable lab-own
rm -rf /etc/systemd/system/lab-own.service /etc/mdadm/mdadm.conf.d
tar -C /etc -xf {FOLDER}/etc.tar
rm -rf {FOLDER}
systemctl daemon-reload
udevadm settle
true
"""


@dataclasses.dataclass(frozen=True)
class Things:
    """The names, and what was on the array's member that it lost and on a foreign array's."""

    vg: str
    label: str
    uuid: str
    lost_member: bytes
    foreign_member: bytes


@contextlib.contextmanager
def things(host: machine.Machine) -> Iterator[Things]:
    """Have them on this host, over reboots, too; its configuration is restored at the end."""
    vg = f"{host.name}vg"
    host.put(_UNIT.format(vg=vg).encode(), "/etc/systemd/system/lab-own.service")
    try:
        host.run(_MAKE.format(vg=vg), timeout=120)
        root = host.run("blkid -o value -s LABEL -s UUID /dev/ubda").out.split()
        lost, foreign = (host.get(f"{FOLDER}/{name}") for name in ("lost", "foreign"))
        yield Things(vg, root[0], root[1], lost, foreign)
    finally:
        host.run(_DROP, timeout=120)
