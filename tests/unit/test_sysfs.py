"""Sessions and disks in a sysfs tree like the one that Linux 6.1 showed in the lab."""

from kvmlun import sysfs
from kvmlun.lun import Portal

from .worlds import TARGET, WWID


def tree(root, sid=3, host=2, state="LOGGED_IN"):
    """Build one session with one partitioned disk; return the session's device folder."""
    device = root / f"devices/platform/host{host}/session{sid}"
    files = {
        f"iscsi_session/session{sid}/targetname": TARGET,
        f"iscsi_session/session{sid}/state": state,
        f"connection{sid}:0/iscsi_connection/connection{sid}:0/persistent_address": "10.77.1.1",
        f"connection{sid}:0/iscsi_connection/connection{sid}:0/persistent_port": "3260",
        f"target{host}:0:0/{host}:0:0:0/state": "running",
        f"target{host}:0:0/{host}:0:0:0/wwid": str(WWID),
        f"target{host}:0:0/{host}:0:0:0/block/sda/dev": "8:0",
        f"target{host}:0:0/{host}:0:0:0/block/sda/size": "131072",
        f"target{host}:0:0/{host}:0:0:0/block/sda/ro": "0",
        f"target{host}:0:0/{host}:0:0:0/block/sda/sda1/partition": "1",
    }
    for name, text in files.items():
        (device / name).parent.mkdir(parents=True, exist_ok=True)
        (device / name).write_text(text + "\n")
    (device / f"target{host}:0:0/{host}:0:0:0/block/sda/holders/dm-0").mkdir(parents=True)
    (device / f"iscsi_session/session{sid}/device").symlink_to(device)
    links = root / "class/iscsi_session"
    links.mkdir(parents=True, exist_ok=True)
    (links / f"session{sid}").symlink_to(device / f"iscsi_session/session{sid}")
    scsi = root / f"class/scsi_device/{host}:0:0:0"
    scsi.mkdir(parents=True)
    (scsi / "device").symlink_to(device / f"target{host}:0:0/{host}:0:0:0")
    return device


def test_a_session_with_its_disk(tmp_path):
    tree(tmp_path)
    (session,) = sysfs.sessions(tmp_path)
    assert (session.sid, session.target, session.host, session.up) == (3, TARGET, 2, True)
    assert session.portal == Portal("10.77.1.1")
    (disk,) = session.disks
    assert (disk.node, disk.number, disk.size, disk.lun) == ("/dev/sda", "8:0", 64 << 20, 0)
    assert disk.holders == ("dm-0",) and disk.partitions == ("sda1",) and disk.wwid == str(WWID)
    assert session.id_path(disk) == f"ip-10.77.1.1:3260-iscsi-{TARGET}-lun-0"
    assert sysfs.session(3, tmp_path) == session


def test_the_iface_is_part_of_a_sessions_portal(tmp_path):
    name = tree(tmp_path) / "iscsi_session/session3/ifacename"
    for told, iface in (("default", ""), ("san0", "san0")):
        name.write_text(f"{told}\n")
        (session,) = sysfs.sessions(tmp_path)
        assert session.portal == Portal("10.77.1.1", iface=iface)
        assert session.serves([Portal("10.77.1.1")])
        assert session.serves([Portal("10.77.1.1", iface="san0")]) == bool(iface)
        assert session.id_path(session.disks[0]).startswith("ip-10.77.1.1:3260-iscsi-")


def test_what_vanishes_meanwhile_is_left_out(tmp_path):
    device = tree(tmp_path)
    (device / "target2:0:0/2:0:0:0/block/sda/dev").unlink()
    (session,) = sysfs.sessions(tmp_path)
    assert session.disks == ()
    (device / "iscsi_session/session3/targetname").unlink()
    assert sysfs.sessions(tmp_path) == () and sysfs.session(3, tmp_path) is None


def test_a_session_that_dropped_is_not_up(tmp_path):
    tree(tmp_path, state="FAILED")
    assert not sysfs.sessions(tmp_path)[0].up


def test_a_disk_is_found_by_its_number(tmp_path):
    tree(tmp_path)
    assert sysfs.has_lun(2, 0, tmp_path) and sysfs.disk_name(2, 0, tmp_path) == "sda"
    assert not sysfs.has_lun(2, 1, tmp_path) and sysfs.disk_name(12, 0, tmp_path) is None


def test_no_iscsi_at_all(tmp_path):
    assert sysfs.sessions(tmp_path) == ()


def test_a_multipath_map_and_its_paths(tmp_path):
    """As multipath-tools 0.9.4 made it; holders and slaves are links to the devices."""
    path = tree(tmp_path) / "target2:0:0/2:0:0:0/block/sda"
    dm = tmp_path / "devices/virtual/block/dm-0"
    uuid = str(WWID.map_uuid)
    for name, text in {
        "dm/uuid": uuid,
        "dm/name": "mpatha",
        "dev": "254:0",
        "holders/x/y": "",
        "slaves/sdb/x": "",
    }.items():
        (dm / name).parent.mkdir(parents=True, exist_ok=True)
        (dm / name).write_text(text + "\n")
    (dm / "slaves/sda").symlink_to(path)
    (path / "holders/dm-0").rmdir()
    (path / "holders/dm-0").symlink_to(dm)
    block = tmp_path / "class/block"
    block.mkdir()
    (block / "dm-0").symlink_to(dm)
    (block / "sda").symlink_to(path)
    (disk,) = sysfs.sessions(tmp_path)[0].disks
    assert disk.map == "dm-0"
    wanted = sysfs.Map("dm-0", "mpatha", "254:0", uuid, ("sda", "sdb"), ("x",))
    assert sysfs.multipath_map(disk, tmp_path) == wanted
    assert sysfs.maps(tmp_path) == (wanted,)
    (dm / "dm/uuid").write_text("LVM-abc\n")
    assert sysfs.multipath_map(disk, tmp_path) is None and sysfs.maps(tmp_path) == ()
    assert sysfs.sessions(tmp_path)[0].disks[0].map == ""
