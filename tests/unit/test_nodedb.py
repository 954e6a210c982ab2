"""Node records as files, in the forms that open-iscsi 2.1.8 wrote in the lab."""

import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kvmlun import errors, nodedb
from kvmlun.lun import Portal

from .worlds import PORTAL, TARGET

ISCSID_CONF = """# comment
iscsid.startup = /bin/systemctl start iscsid.socket
node.startup = automatic
# node.session.auth.authmethod = CHAP
node.session.timeo.replacement_timeout=77
node.session.queue_depth = 32
discovery.sendtargets.iscsi.MaxRecvDataSegmentLength = 32768
"""


@pytest.fixture
def lock(tmp_path, monkeypatch):
    """open-iscsi's lock, taken; waiting for it ends after 0.05 s."""
    path = tmp_path / "lock/lock"
    monkeypatch.setattr(nodedb._locked.__wrapped__, "__defaults__", (path, 0.05))
    return path.with_name("lock.write")


@pytest.fixture
def write(lock, tmp_path):
    (tmp_path / "iscsid.conf").write_text(ISCSID_CONF)

    def write(**settings):
        nodedb.write(TARGET, PORTAL, settings, None, tmp_path, tmp_path / "iscsid.conf")
        return tmp_path / "nodes" / TARGET / "10.77.1.1,3260"

    return write


def settings_of(record):
    lines = record.read_text().splitlines()
    assert (lines[0][:14], lines[-1]) == ("# BEGIN RECORD", "# END RECORD")
    return dict(line.split(" = ") for line in lines[1:-1])


def test_both_forms_are_found(write, tmp_path):
    assert nodedb.may_write(TARGET, PORTAL, (tmp_path,))
    record = write()
    assert nodedb.may_write(TARGET, PORTAL, (tmp_path,))
    tagged = tmp_path / "nodes" / TARGET / "10.77.2.1,3260,1"
    tagged.mkdir()
    (tagged / "default").touch()
    assert nodedb.records(TARGET, PORTAL, (tmp_path,)) == [record]
    assert nodedb.records(TARGET, Portal("10.77.2.1"), (tmp_path,)) == [tagged / "default"]
    assert nodedb.records(TARGET, Portal("10.77.1.1", 860), (tmp_path,)) == []


def test_a_record_has_the_hosts_defaults_and_ours_over_them(write):
    record = write(**{"node.startup": "manual"})
    found = settings_of(record)
    assert found["node.startup"] == "manual"
    assert found["node.session.timeo.replacement_timeout"] == "77"
    assert (found["node.name"], found["node.conn[0].address"]) == (TARGET, "10.77.1.1")
    assert not [name for name in found if not name.startswith(("node.", "iface."))]
    assert stat.S_IMODE(record.stat().st_mode) == 0o600


def test_an_iface_has_a_record_of_its_own_that_says_what_the_iface_is(write, tmp_path):
    bound = [replace(PORTAL, iface=name) for name in ("san0", "san1")]
    for portal in bound:
        with pytest.raises(errors.Storage, match="iscsiadm -m iface -I san"):
            nodedb.write(TARGET, portal, {}, 1, tmp_path)
        (tmp_path / "ifaces").mkdir(exist_ok=True)
        (tmp_path / "ifaces" / portal.iface).write_text(
            "# BEGIN RECORD 2.1.8\n"
            f"iface.iscsi_ifacename = {portal.iface}\niface.net_ifacename = eth-{portal.iface}\n"
            "iface.transport_name = tcp\n# END RECORD\n"
        )
        nodedb.write(TARGET, portal, {}, 1, tmp_path)
        (record,) = nodedb.records(TARGET, portal, (tmp_path,))
        assert record == tmp_path / "nodes" / TARGET / "10.77.1.1,3260,1" / portal.iface
        found = settings_of(record)
        assert found["iface.net_ifacename"] == f"eth-{portal.iface}"
        assert (found["iface.iscsi_ifacename"], found["node.tpgt"]) == (portal.iface, "1")
    assert nodedb.records(TARGET, PORTAL, (tmp_path,)) == []
    assert nodedb.group(TARGET, PORTAL, tmp_path) == 1
    nodedb.delete(TARGET, bound[0], tmp_path)
    assert [len(nodedb.records(TARGET, portal, (tmp_path,))) for portal in bound] == [0, 1]
    nodedb.delete(TARGET, bound[1], tmp_path)
    assert list((tmp_path / "nodes").iterdir()) == []


def iface(tmp_path, name="san0"):
    (tmp_path / "ifaces").mkdir(exist_ok=True)
    # A copy whose name inside was forgotten.
    (tmp_path / "ifaces" / name).write_text("iface.iscsi_ifacename = x\niface.hwaddress = y\n")
    return replace(PORTAL, iface=name)


def test_a_named_iface_gets_room_beside_our_record_of_all_of_them(write, tmp_path):
    record, bound = write(), iface(tmp_path)
    assert nodedb.records(TARGET, bound, (tmp_path,)) == []
    nodedb.write(TARGET, bound, {}, 3, tmp_path)
    assert not record.exists()
    (default,), (named,) = (nodedb.records(TARGET, p, (tmp_path,)) for p in (PORTAL, bound))
    assert settings_of(default)["node.tpgt"] == settings_of(named)["node.tpgt"] == "3"
    assert settings_of(named)["iface.iscsi_ifacename"] == "san0"
    for portal in (bound, PORTAL):
        nodedb.delete(TARGET, portal, tmp_path)
    assert list((tmp_path / "nodes").iterdir()) == []


def test_what_a_discovery_put_in_its_place_is_not_ours(write, tmp_path):
    """iscsiadm -m discovery replaces a record of the older form by one with the portal's group."""
    write().unlink()
    theirs = tmp_path / "nodes" / TARGET / "10.77.1.1,3260,1" / "default"
    theirs.parent.mkdir()
    theirs.write_text("# BEGIN RECORD 2.1.8\nnode.tpgt = 1\n# END RECORD\n")
    nodedb.delete(TARGET, PORTAL, tmp_path)
    assert theirs.exists() and not nodedb.may_write(TARGET, PORTAL, (tmp_path,))
    plain = theirs.parent.with_name("10.77.1.1,3260")
    plain.write_text("# BEGIN RECORD 2.1.8\n# END RECORD\n")
    assert plain in nodedb.records(TARGET, iface(tmp_path), (tmp_path,))


def test_a_secret_of_the_volume_replaces_the_hosts_as_a_whole(write, tmp_path):
    """Mutual CHAP in iscsid.conf would fail with a target that knows only the initiator's."""
    auth = "node.session.auth."
    host = {"authmethod": "CHAP", "username": "h", "password": "p", "username_in": "t"}
    lines = "".join(f"{auth}{key} = {value}\n" for key, value in host.items())
    (tmp_path / "iscsid.conf").write_text(ISCSID_CONF + lines)
    assert settings_of(write())[f"{auth}username"] == "h"
    given = {f"{auth}authmethod": "CHAP", f"{auth}username": "u", f"{auth}password": "v"}
    found = settings_of(write(**given))
    assert {name: value for name, value in found.items() if name.startswith(auth)} == given


def test_nothing_else_is_left_in_the_database(write, tmp_path):
    record = write()
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"iscsid.conf", "lock", record.name}


def test_a_deleted_record_leaves_no_folder_but_that_of_others(write, tmp_path):
    folder = write().parent
    nodedb.delete(TARGET, PORTAL, tmp_path)
    assert not folder.exists()
    nodedb.delete(TARGET, PORTAL, tmp_path)
    write()
    (folder / "10.77.2.1,3260").touch()
    nodedb.delete(TARGET, PORTAL, tmp_path)
    assert [path.name for path in folder.iterdir()] == ["10.77.2.1,3260"]


def test_a_lock_that_stays_taken_is_named(write, lock):
    lock.parent.mkdir()
    lock.touch()
    with pytest.raises(errors.Timeout, match="lock.write"):
        write()
    assert lock.exists()


def test_a_lock_whose_holder_is_gone_is_removed(write, lock, monkeypatch):
    lock.parent.mkdir()
    lock.touch()
    monkeypatch.setattr(nodedb, "STALE_SECONDS", 0.01)
    assert write().exists()
    assert not lock.exists()


def test_a_lock_stays_while_an_iscsiadm_that_may_have_made_it_lives(
    write, lock, tmp_path, monkeypatch
):
    program = tmp_path / "iscsiadm"
    program.symlink_to("/bin/sleep")
    monkeypatch.setattr(nodedb, "STALE_SECONDS", 0.0)
    with subprocess.Popen([program, "60"]) as holder:
        # The kernel lets the parent go on before it gives the child its new name (begin_new_exec).
        while Path(f"/proc/{holder.pid}/comm").read_text() != "iscsiadm\n":
            os.sched_yield()
        lock.parent.mkdir()
        lock.touch()
        try:
            with pytest.raises(errors.Timeout):
                write()
        finally:
            holder.kill()


def test_a_lock_stays_whose_holder_seems_a_tick_younger(write, lock, monkeypatch):
    lock.parent.mkdir()
    lock.touch()
    began = lock.stat().st_ctime + 0.015
    monkeypatch.setattr(nodedb, "STALE_SECONDS", 0.0)
    monkeypatch.setattr(nodedb, "started", lambda *_: [began])
    with pytest.raises(errors.Timeout):
        write()
    assert lock.exists()


def test_the_database_is_the_one_that_iscsiadm_was_built_for(tmp_path):
    program = tmp_path / "iscsiadm"
    program.write_bytes(b"\x7fELF\0/etc/iscsi\0/var/lib/iscsi/nodes\0")
    assert str(nodedb.root(program)) == "/var/lib/iscsi"
    upgraded = tmp_path / "new"
    upgraded.write_bytes(b"/etc/iscsi/nodes\0")
    upgraded.rename(program)
    assert str(nodedb.root(program)) == "/etc/iscsi"
    other = tmp_path / "other"
    other.write_bytes(b"/srv/nodes")
    with pytest.raises(errors.Storage, match="does not know"):
        nodedb.root(other)


def test_a_record_in_another_encoding_is_somebody_elses(tmp_path):
    record = tmp_path / "nodes" / TARGET / "10.77.1.1,3260,1/default"
    record.parent.mkdir(parents=True)
    record.write_bytes(b"# Caf\xe9\nnode.name = x\n")
    assert nodedb.records(TARGET, PORTAL, (tmp_path,)) == [record]
    assert not nodedb.is_ours(record)
