"""What a KVM host has of iSCSI at one moment, as the host itself shows it."""

import json
from dataclasses import dataclass
from typing import Any

from tests.lab import machine

# Runs on the host. Standard library and sysfs only: it must not depend on what it judges.
_PROGRAM = r"""
import glob, json, os, sys, time
def read(path):
    try:
        return open(path).read().strip()
    except OSError:
        return ""
def look():
    sessions, disks = {}, {}
    for path in glob.glob("/sys/class/iscsi_session/session*"):
        name = os.path.basename(path)
        sessions[name] = [read(path + "/targetname"), read(path + "/state")]
        for block in glob.glob(os.path.realpath(path + "/device") + "/target*/*/block/*"):
            disk = os.path.basename(block)
            holders = sorted(os.listdir(block + "/holders"))
            parts = sorted(p for p in os.listdir(block) if p.startswith(disk))
            disks[disk] = {"session": name, "wwid": read(block + "/device/wwid"),
                           "holders": holders, "partitions": parts}
    links = {link: os.path.basename(os.path.realpath(link))
             for folder in ("by-id", "by-path", "by-uuid", "by-label")
             for link in glob.glob("/dev/disk/%s/*" % folder)}
    maps = {os.path.basename(block): sorted(os.listdir(block + "/slaves"))
            for block in glob.glob("/sys/class/block/dm-*")
            if read(block + "/dm/uuid").startswith("mpath-")}
    listed = [line.strip().strip("/") for line in open("/etc/multipath/wwids") if line[0] == "/"] \
        if os.path.exists("/etc/multipath/wwids") else []
    records = [os.path.join(folder, file) for root in ("/etc/iscsi/nodes", "/var/lib/iscsi/nodes")
               for folder, _, files in os.walk(root) for file in files]
    state = [os.path.join(folder, file) for root in ("/run/kvmlun", "/var/lib/kvmlun/owned")
             for folder, _, files in os.walk(root) for file in files
             # What was announced and did not come is over by itself after two minutes, and what
             # was done for a VM is told after it.
             if not file.endswith(".sock")
             and folder not in ("/run/kvmlun/arriving", "/run/kvmlun/steps")]
    return {"sessions": sessions, "disks": disks, "records": records, "state": state,
            "maps": maps, "listed": listed,
            "links": {link: disk for link, disk in links.items() if disk in disks or disk in maps}}
deadline = time.monotonic() + float(sys.argv[1])
while True:
    try:
        seen = look()
    except FileNotFoundError:
        continue  # what went away in the middle of a look
    clean = not any(seen[kind] for kind in seen if kind != "links")
    if clean or time.monotonic() >= deadline:
        break
    time.sleep(0.1)
print(json.dumps(seen))
"""


@dataclass(frozen=True)
class HostState:
    """Sessions by name, disks by name, links to these disks, node records, kvmlun's own files.

    And multipath maps with the names of their paths, and the WWIDs that multipath has listed.
    """

    host: str
    sessions: dict[str, tuple[str, str]]
    disks: dict[str, dict[str, object]]
    links: dict[str, str]
    records: tuple[str, ...]
    state: tuple[str, ...]
    maps: dict[str, list[str]]
    listed: tuple[str, ...]

    @property
    def targets(self) -> list[str]:
        return sorted(target for target, _ in self.sessions.values())

    @property
    def is_clean(self) -> bool:
        initiator = self.sessions or self.disks or self.records or self.state
        return not (initiator or self.maps or self.listed)

    def rows(self) -> list[str]:
        """Return one line for each thing that is there, for people."""
        lines = [
            f"{self.host}  {name}  {state}  {target}"
            for name, (target, state) in self.sessions.items()
        ]
        lines += [f"{self.host}  /dev/{name}  {disk['wwid']}" for name, disk in self.disks.items()]
        lines += [f"{self.host}  node record  {path}" for path in self.records]
        return lines or [f"{self.host}  no session, no device, no node record"]


def observe(host: machine.Machine, clean_within: float = 0) -> HostState:
    """Look now, or once the host is clean, or after so many seconds: the host itself waits."""
    program = ["/usr/bin/python3", "-I", "-S", "-c", _PROGRAM, f"{clean_within:g}"]
    found = json.loads(host.run(program, timeout=clean_within + 60).out)
    return HostState(
        host=host.name,
        sessions={name: (target, state) for name, (target, state) in found["sessions"].items()},
        disks=found["disks"],
        links=found["links"],
        records=tuple(found["records"]),
        state=tuple(found["state"]),
        maps=found["maps"],
        listed=tuple(found["listed"]),
    )


def status(host: machine.Machine) -> dict[str, Any]:
    """Return what kvmlun itself says."""
    return json.loads(host.run("kvmlun status --json").out)


def volumes(host: machine.Machine) -> list[dict[str, Any]]:
    """Return kvmlun's catalog."""
    return json.loads(host.run("kvmlun volume list --json").out)


def users(host: machine.Machine, wwid: str) -> list[str]:
    """Return whom kvmlun names as the users of a LUN."""
    return next((lun["domains"] for lun in status(host)["luns"] if lun["wwid"] == wwid), [])
