"""What a host does with disks: all that it has in use, and what it has done to guests' disks.

And the commands by which an administrator, or a package's script, has it look at all disks.
"""

import json
from collections.abc import Sequence
from typing import Any

from tests.lab import machine, own, san

COMMANDS = (
    "udevadm trigger --settle --subsystem-match=block",
    "pvscan; pvscan --cache -aay; vgchange -ay",
    # While the array's own member is away, a guest has one of the same array.
    f"mdadm --stop {own.ARRAY}; losetup -d {own.MEMBER}; mdadm --assemble --scan; "
    f"losetup {own.MEMBER} {own.MEMBER_FILE}; udevadm settle; mdadm --assemble --scan",
    "systemctl daemon-reload; mount -a; swapon -a; multipath -r",
)

# Runs on the host; its arguments are the WWIDs of guests' LUNs, first the one that a guest uses.
_PROGRAM = r"""
import glob, json, os, subprocess, sys
def read(path):
    try:
        return open(path).read()
    except OSError:
        return ""
def run(*args):
    done = subprocess.run(args, capture_output=True, text=True)
    return done.stdout + done.stderr
def opens(number):
    found = set()
    for path in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.stat(path).st_rdev == number:
                found.add(read(path.partition("/fd/")[0] + "/comm").strip())
        except OSError:
            pass
    return sorted(found)
def requests(name):
    # Documentation/block/stat.rst: reads, writes and discards. The guest's own are none of ours.
    disk = [name, *os.listdir("/sys/block/%s/slaves" % name)][-1]
    if read("/sys/block/%s/device/wwid" % disk).strip() == sys.argv[1]:
        return []
    return [read("/sys/block/%s/stat" % name).split()[field] for field in (0, 4, 11)]
disks = [os.path.basename(path) for path in sorted(glob.glob("/sys/block/sd*"))
         if read(path + "/device/wwid").strip() in sys.argv[1:]]
maps = {name for disk in disks for name in os.listdir("/sys/block/%s/holders" % disk)
        if read("/sys/block/%s/dm/uuid" % name).startswith("mpath-")}
all_theirs = {*disks, *maps}
own = {
    "pvs": run("pvs", "--noheadings", "-o", "pv_name,pv_uuid,vg_name"),
    "lvs": run("lvs", "--noheadings", "-o", "vg_name,lv_name,lv_active,devices"),
    "dm": sorted(line for line in run("dmsetup", "info", "-c", "--noheadings", "-o", "name,uuid")
                 .splitlines() if ":mpath-" not in line),
    # An array is that until somebody writes to it.
    "mdstat": read("/proc/mdstat").replace(" (auto-read-only)", ""),
    "links": {link: os.path.realpath(link)
              for link in sorted(glob.glob("/dev/disk/by-[ulp]*/*") + glob.glob("/dev/md/*"))
              if "/by-path/" not in link},
    "partitions": sorted(name for name in (line.split()[3] for line in
                         read("/proc/partitions").splitlines()[2:]) if name not in all_theirs),
    "mounts": sorted((line.split(" - ")[1].split()[1], line.split()[4])
                     for line in read("/proc/1/mountinfo").splitlines()),
    "swaps": read("/proc/swaps"),
}
theirs = {name: {
    "holders": [h for h in os.listdir("/sys/block/%s/holders" % name) if h not in maps],
    "partitions": [p for p in os.listdir("/sys/block/" + name) if p.startswith(name)],
    "openers": opens(os.stat("/dev/" + name).st_rdev),
    "io": requests(name),
} for name in sorted(maps) or disks}
print(json.dumps([own, theirs]))
"""


State = dict[str, Any]


def look(host: machine.Machine, volumes: Sequence[san.Volume]) -> tuple[State, dict[str, State]]:
    """Return what the host has in use, and for each disk (or map) of these LUNs what it does there.

    That is holders, partitions, who has it open, and the kernel's count of reads and writes, which
    is left out for the first LUN: a guest writes there.
    """
    wwids = [volume.wwid for volume in volumes]
    in_use, theirs = json.loads(host.run(["python3", "-c", _PROGRAM, *wwids]).out)
    return in_use, theirs


def check_off(host: machine.Machine, volumes: Sequence[san.Volume], before: State) -> None:
    """Fail where the host has other things in use than before the guest's disks came, or theirs.

    At rest, and after each command that looks at all disks.
    """
    host.run("udevadm settle")
    now, first = look(host, volumes)
    assert now == before, _changes(before, now)
    assert len(first) == len(volumes)
    for state in first.values():
        assert (state["holders"], state["partitions"]) == ([], [])
        assert state["openers"] == ["qemu-system-x86"]
    for command in COMMANDS:
        host.run(f"{command}; udevadm settle", check=False)
        now, theirs = look(host, volumes)
        assert now == before, (command, _changes(before, now))
        assert theirs == first, (command, _changes(first, theirs))


def _changes(before: State, now: State) -> dict[str, tuple[Any, Any]]:
    keys = before.keys() | now.keys()
    return {k: (before.get(k), now.get(k)) for k in keys if before.get(k) != now.get(k)}
