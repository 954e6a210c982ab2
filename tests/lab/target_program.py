#!/usr/bin/python3
"""Runs on the SAN host: one change of the LIO configuration a call, JSON in and out.

The configuration is saved after each change, and restored by the host's own unit at boot.
"""

import fcntl
import json
import re
import sys
import uuid
from pathlib import Path

import rtslib_fb as lio

FOLDER = Path("/var/target")
PR_FOLDER = Path("/etc/rtslib-fb-target/pr")
TPG_ATTRIBUTES = {
    "authentication": 0,
    "cache_dynamic_acls": 1,
    "demo_mode_write_protect": 0,
    "generate_node_acls": 1,
}


def create(iqn, lun, size, portals, serial, path, attributes, apart):
    """Export a LUN; `apart` gives each portal a group of its own, which can show another LUN."""
    target = lio.Target(lio.FabricModule("iscsi"), iqn)
    disk = make_disk(f"{iqn}-{lun}", size, serial, path, attributes)
    for tag, group in enumerate([[portal] for portal in portals] if apart else [portals], 1):
        tpg = lio.TPG(target, tag)
        for name, value in TPG_ATTRIBUTES.items():
            tpg.set_attribute(name, value)
        try:
            lio.LUN(tpg, lun, disk)
        except Exception:
            disk.delete()
            raise
        for portal in group:
            address, _, port = portal.rpartition(":")
            lio.NetworkPortal(tpg, address, int(port))
        tpg.enable = True
    return describe(iqn, lun, portals, disk)


def create_all(iqn, sizes, portals):
    """Export a LUN of each size, from number 0 on."""
    return [create(iqn, lun, size, portals, "", "", {}, False) for lun, size in enumerate(sizes)]


def swap(iqn, lun, size, portals, serial, path, attributes, group):
    tpg = find_tpg(iqn, group)
    remove(find_lun(tpg, lun), keep_file=True)
    disk = make_disk(f"{iqn}-{lun}", size, serial, path, attributes)
    lio.LUN(tpg, lun, disk)
    return describe(iqn, lun, portals, disk)


def restrict(iqn, attribute, value):
    """Set an attribute of the target's portal group, as authentication or generate_node_acls."""
    find_tpg(iqn).set_attribute(attribute, value)


def chap(iqn, initiator, username, password, username_in, password_in):
    """Let one initiator in only, with CHAP; an access list that it has gets the new secret."""
    tpg = find_tpg(iqn)
    acl = next((a for a in tpg.node_acls if a.node_wwn == initiator), None)
    if acl is None:
        acl = lio.NodeACL(tpg, initiator)
        for lun in tpg.luns:
            lio.MappedLUN(acl, lun.lun, lun)
    tpg.set_attribute("authentication", 1)
    tpg.set_attribute("generate_node_acls", 0)
    acl.chap_userid, acl.chap_password = username, password
    if username_in:
        acl.chap_mutual_userid, acl.chap_mutual_password = username_in, password_in


def discovery_chap(username, password):
    """Have all discoveries of this SAN authenticated; none with an empty name."""
    fabric = lio.FabricModule("iscsi")
    fabric.discovery_enable_auth = bool(username)
    if username:
        fabric.discovery_userid, fabric.discovery_password = username, password


def restart(iqn, forget):
    """End a target with its sessions and begin it again, as its computer's restart would.

    LIO then reads the reservations that an initiator asked it to keep; `forget`: they are lost.
    """
    root = lio.RTSRoot()
    tpg = find_tpg(iqn)
    names = {lun.storage_object.name for lun in tpg.luns}
    saved = root.dump()
    disks = [disk for disk in saved["storage_objects"] if disk["name"] in names]
    (target,) = [found for found in saved["targets"] if found["wwn"] == iqn]
    end(iqn, keep_files=True)
    if forget:
        for disk in disks:
            kept_reservations(disk["wwn"]).unlink(missing_ok=True)
    root.restore({"storage_objects": disks, "targets": [target]}, abort_on_error=True)


def delete(iqn, lun):
    if lun is not None:
        remove(find_lun(find_tpg(iqn), lun))
    else:
        end(iqn)


def end(iqn, keep_files=False):
    target = lio.Target(lio.FabricModule("iscsi"), iqn, mode="lookup")
    for tpg in list(target.tpgs):
        # A disabled group ends its sessions; a target with sessions cannot be deleted.
        tpg.enable = False
        for found in list(tpg.luns):
            remove(found, keep_files)
    target.delete()


def clear(prefix):
    for iqn in targets():
        if iqn.startswith(prefix):
            delete(iqn, None)
    for file in FOLDER.glob(f"{safe(prefix)}*.img"):
        file.unlink()


def targets():
    return [target.wwn for target in lio.FabricModule("iscsi").targets]


def sessions(iqn):
    tpg = find_tpg(iqn)
    found = [{"initiator": name, "address": ""} for name in dynamic_sessions(tpg)]
    for acl in tpg.node_acls:
        if acl.session:
            addresses = [c["address"] for c in acl.session["connections"]]
            found.append({"initiator": acl.node_wwn, "address": ",".join(addresses)})
    return found


def dynamic_sessions(tpg):
    text = (Path(tpg.path) / "dynamic_sessions").read_text()
    return [name for name in re.split(r"[\n\0]+", text) if name]


def make_disk(name, size, serial, path, attributes):
    serial = serial or str(uuid.uuid4())
    # The name of a backstore is part of configfs paths; the file's must not be one in use.
    name = f"{safe(name)}-{uuid.uuid4().hex[:6]}"
    FOLDER.mkdir(exist_ok=True)
    path = path or str(FOLDER / f"{name}.img")
    with open(path, "ab") as file:
        if file.tell() < size:
            file.truncate(size)
    disk = lio.FileIOStorageObject(name, path, size, wwn=serial, write_back=False)
    for attribute, value in {"emulate_tpu": 1, **attributes}.items():
        disk.set_attribute(attribute, value)
    return disk


def safe(name):
    return re.sub(r"[^A-Za-z0-9.-]", "_", name)


def describe(iqn, lun, portals, disk):
    # As the kernel makes it: Linux-IO's company id and the serial's first 25 hex digits.
    digits = re.sub(r"[^0-9a-f]", "", disk.wwn.lower())[:25]
    return {
        "iqn": iqn,
        "lun": lun,
        "portals": portals,
        "wwid": f"naa.6001405{digits:0<25}",
        "serial": disk.wwn,
        "size": disk.size,
        "path": disk.udev_path,
    }


def find_tpg(iqn, tag=1):
    target = lio.Target(lio.FabricModule("iscsi"), iqn, mode="lookup")
    return lio.TPG(target, tag, mode="lookup")


def find_lun(tpg, lun):
    return lio.LUN(tpg, lun)


def remove(lun, keep_file=False):
    disk = lun.storage_object
    path, reservations = Path(disk.udev_path), kept_reservations(disk.wwn)
    lun.delete()
    if any(disk.attached_luns):
        return
    disk.delete()
    if not keep_file and path.parent == FOLDER:
        path.unlink(missing_ok=True)
        reservations.unlink(missing_ok=True)


def kept_reservations(serial):
    """Where LIO writes what an initiator asked it to keep; it reads that for any disk so named."""
    return PR_FOLDER / f"aptpl_{serial}"


OPERATIONS = {
    f.__name__: f
    for f in (
        create,
        create_all,
        swap,
        restrict,
        chap,
        discovery_chap,
        restart,
        delete,
        clear,
        targets,
        sessions,
    )
}
READING = ("targets", "sessions")


def main():
    request = json.load(sys.stdin)
    op = request.pop("op")
    with open("/run/lab-target.lock", "w") as lock:
        # What goes through the configuration must not meet what removes parts of it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        root = lio.RTSRoot()
        # Without it LIO registers a key and answers "Device not ready".
        PR_FOLDER.mkdir(exist_ok=True)
        answer = OPERATIONS[op](**request)
        if op not in READING:
            root.save_to_file()
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    try:
        main()
    except lio.RTSLibError as e:
        sys.exit(f"lab-target: {e}")
