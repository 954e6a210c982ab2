"""Ledger, leases and marks: what survives a crash, and what a full disk prevents."""

import errno
import json

import pytest

from kvmlun import errors, statefile
from kvmlun.leases import CONNECTION, Leases, Need
from kvmlun.ledger import Ledger
from kvmlun.lun import Portal, id_path
from kvmlun.markers import Markers

from . import worlds
from .worlds import PORTAL, TARGET, UUID, WWID

NEED = Need(TARGET, 0, str(WWID), False)
ID_PATH = "ip-10.77.1.1:3260-iscsi-iqn.2026-11.com.example:vm1-lun-0"


@pytest.fixture
def full(tmp_path):
    """A folder that can't be made, as on a full or read-only file system."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "folder"


def test_an_intent_owns_the_session_before_its_id_is_known(tmp_path):
    Ledger(tmp_path, "boot").intend(TARGET, PORTAL)
    ledger = Ledger(tmp_path, "boot")
    assert ledger.owns(worlds.session(4))
    ledger.made(worlds.session(4))
    assert Ledger(tmp_path, "boot").owns(worlds.session(4))
    assert not Ledger(tmp_path, "boot").owns(worlds.session(5))


def test_nobody_owns_other_sessions(tmp_path):
    ledger = Ledger(tmp_path, "boot")
    assert not ledger.owns(worlds.session())
    ledger.intend(TARGET, PORTAL)
    assert not ledger.owns(worlds.session(portal=Portal("10.77.2.1")))
    assert not ledger.owns(worlds.session(portal=None))


def test_after_a_reboot_only_the_node_record_is_ours(tmp_path):
    Ledger(tmp_path, "before").intend(TARGET, PORTAL)
    ledger = Ledger(tmp_path, "after")
    assert not ledger.owns(worlds.session())
    assert [entry.boot_id for entry in ledger.entries] == ["before"]


def test_what_is_forgotten_stays_forgotten(tmp_path):
    ledger = Ledger(tmp_path, "boot")
    ledger.intend(TARGET, PORTAL)
    ledger.forget(ledger.entries[0])
    assert Ledger(tmp_path, "boot").entries == ()


def test_a_name_may_be_as_long_as_a_target_name_can_be(tmp_path):
    target, portal = "iqn.2026-11.com.example:".ljust(223, "a"), Portal("10.77.1.1")
    Ledger(tmp_path / "owned", "boot").intend(target, portal)
    Markers(*map(tmp_path.joinpath, "lwml")).put(id_path(portal, target, 0), scanned=True)
    assert Ledger(tmp_path / "owned", "boot").find(target, portal)
    # The folder's own limit, 255 bytes, which is that of udev's link as well.
    with pytest.raises(errors.Storage, match="File name too long; nothing was done"):
        Ledger(tmp_path / "owned", "boot").intend(target, Portal("fd77:77:77:77:77:77:77:77"))


def test_an_intent_that_cannot_be_written_is_an_error(full):
    ledger = Ledger(full, "boot")
    with pytest.raises(errors.Storage, match="nothing was done"):
        ledger.intend(TARGET, PORTAL)
    assert ledger.entries == ()


def test_a_torn_file_is_left_and_the_others_count(tmp_path, caplog):
    Ledger(tmp_path, "boot").intend(TARGET, PORTAL)
    (tmp_path / "torn.json").write_text('{"target": ')
    assert len(Ledger(tmp_path, "boot").entries) == 1
    assert "torn.json" in caplog.text


def test_an_interrupted_write_leaves_the_old_value(tmp_path):
    path = tmp_path / "a.json"
    statefile.write(path, {"old": 1})
    (tmp_path / ".a.json.new").write_text('{"ne')
    assert list(statefile.read_all(tmp_path, dict)) == [(path, {"old": 1})]


def test_a_lease_survives_the_daemon_and_is_settled_then(tmp_path):
    Leases(tmp_path).take(UUID, "vm1", [NEED], began=5.0)
    (lease,) = Leases(tmp_path).all
    assert lease.needs == (NEED,) and lease.began == 5.0 and lease.settled is not None


def test_what_a_newer_version_wrote_is_read_as_far_as_it_is_known(tmp_path):
    Leases(tmp_path / "leases").take(UUID, "vm1", [NEED], began=5.0)
    Ledger(tmp_path / "owned", "boot").intend(TARGET, PORTAL)
    for path in tmp_path.glob("*/*"):
        value = json.loads(path.read_text())
        for each in (value, *value.get("needs", ())):
            each["invented"] = "later"
        path.write_text(json.dumps(value))
    (lease,) = Leases(tmp_path / "leases").all
    assert lease.needs == (NEED,)
    assert Ledger(tmp_path / "owned", "boot").owns(worlds.session(4))


@pytest.mark.parametrize(
    "content", ["[]", "{", "{}", '{"needs": 5}', '{"needs": [{}]}', '{"needs": ["x"]}']
)
def test_a_state_file_that_lacks_something_is_left_and_said(tmp_path, caplog, content):
    Leases(tmp_path).take(UUID, "vm1", [NEED], began=5.0)
    (tmp_path / "other.json").write_text(content)
    assert [lease.uuid for lease in Leases(tmp_path).all] == [UUID]
    assert Ledger(tmp_path, "boot").entries == ()
    assert "other.json is ignored" in caplog.text and (tmp_path / "other.json").exists()


def test_who_is_told_of_ends_is_told_of_each_once(tmp_path):
    leases, told = Leases(tmp_path), []
    leases.ended = told.append
    leases.take(UUID, "vm1", [NEED], began=5.0)
    leases.drop(UUID, asked=4.0)
    assert not told
    for _ in range(2):
        leases.drop(UUID, asked=6.0)
    assert [lease.name for lease in told] == ["vm1"]


def test_a_release_older_than_the_lease_is_ignored(tmp_path):
    leases = Leases(tmp_path)
    leases.take(UUID, "vm1", [NEED], began=5.0)
    leases.drop(UUID, asked=4.0)
    assert leases.get(UUID)
    leases.drop(UUID, asked=6.0)
    assert not leases.get(UUID) and not Leases(tmp_path).all


def test_a_session_whose_end_was_asked_for_is_known_as_such_until_it_stays(tmp_path):
    Ledger(tmp_path, "boot").intend(TARGET, PORTAL)
    ledger, session = Ledger(tmp_path, "boot"), worlds.session(4)
    ledger.made(session)
    assert not ledger.is_ending(session)
    ledger.ending(session)
    assert Ledger(tmp_path, "boot").is_ending(session)
    assert not Ledger(tmp_path, "boot").is_ending(worlds.session(5))
    assert not Ledger(tmp_path, "next boot").is_ending(session)
    ledger.made(session)
    assert not Ledger(tmp_path, "boot").is_ending(session)


def test_only_its_own_hook_settles_a_lease(tmp_path):
    leases = Leases(tmp_path)
    leases.take(UUID, "vm1", [NEED], began=5.0)
    leases.settle(UUID, began=4.0)
    assert leases.get(UUID).settled is None
    leases.settle(UUID, began=5.0)
    assert leases.get(UUID).settled is not None


def test_a_lease_learns_an_identity(tmp_path):
    unknown = Need(TARGET, 0, "", False)
    leases = Leases(tmp_path)
    leases.take(UUID, "vm1", [unknown], began=5.0)
    leases.learn(UUID, unknown, WWID)
    assert Leases(tmp_path).get(UUID).needs == (NEED,)


def test_needs_are_compared_by_identity_then_by_address():
    elsewhere = Need(TARGET, 7, str(WWID), False)
    assert NEED.same(elsewhere)
    assert not NEED.same(Need(TARGET, 0, str(worlds.OTHER_WWID), False))
    assert NEED.same(Need(TARGET, 0, "", False))
    assert not elsewhere.same(Need(TARGET, 0, "", False))


def test_a_connection_outlives_the_daemon_as_one(tmp_path):
    Leases(tmp_path).connect(UUID, "connected by backup", NEED, ttl=60)
    (lease,) = Leases(tmp_path).all
    assert lease.role == CONNECTION and lease.settled is None
    assert lease.expires == pytest.approx(lease.began + 60)
    Leases(tmp_path).connect(UUID, "connected by backup", NEED, ttl=0)
    assert Leases(tmp_path).all[0].expires is None


def test_marks_are_files_named_like_the_id_path(tmp_path):
    markers = Markers(tmp_path)
    markers.put(ID_PATH, scanned=True)
    assert (tmp_path / ID_PATH).exists()
    assert ID_PATH in Markers(tmp_path) and Markers(tmp_path).scanned(ID_PATH)
    markers.drop(ID_PATH)
    assert not (tmp_path / ID_PATH).exists() and not Markers(tmp_path).all


def test_properties_of_a_known_disk_last_as_long_as_its_marks(tmp_path):
    marks, properties = tmp_path / "luns", tmp_path / "wwids"
    Markers(marks, properties).put(ID_PATH, scanned=True, wwid=WWID)
    Markers(marks, properties).put(f"{ID_PATH}-again", scanned=True, wwid=WWID)
    digits = str(WWID).removeprefix("naa.")
    told = dict(line.split("=") for line in (properties / str(WWID)).read_text().splitlines())
    assert (told["ID_SERIAL"], told["ID_WWN"]) == (f"3{digits}", f"0x{digits[:16]}")
    assert told["ID_WWN"] + told["ID_WWN_VENDOR_EXTENSION"][2:] == told["ID_WWN_WITH_EXTENSION"]
    markers = Markers(marks, properties)
    markers.drop(ID_PATH)
    assert (properties / str(WWID)).exists()
    markers.drop(f"{ID_PATH}-again")
    assert not list(properties.iterdir())


def test_properties_without_a_mark_are_removed_at_the_start(tmp_path):
    """A daemon killed between the two files leaves the first."""
    marks, properties = tmp_path / "luns", tmp_path / "wwids"
    Markers(marks, properties).put(ID_PATH, scanned=True, wwid=WWID)
    (marks / ID_PATH).unlink()
    Markers(marks, properties)
    assert not list(properties.iterdir())


def test_a_write_that_fails_leaves_no_file(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(statefile.os, "fsync", full)
    with pytest.raises(errors.Storage, match="No space left"):
        statefile.write(tmp_path / "a.json", {})
    assert not list(tmp_path.iterdir())


def test_a_mark_that_cannot_be_written_is_an_error(full):
    with pytest.raises(errors.Storage):
        Markers(full).put(ID_PATH, scanned=True)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100000,
        "\xff",
        json.dumps({"uuid": [], "name": 1, "began": "x", "needs": [{"target": 1}]}),
        json.dumps({"uuid": UUID, "name": "vm1", "began": 1.0, "needs": [], "settled": "x"}),
        json.dumps({"target": [], "host": {}, "port": "x", "record": 1, "boot_id": None}),
        json.dumps({"wwid": [1], "scanned": {}}),
        json.dumps({"wwid": "../../x", "scanned": True}),
    ],
)
def test_what_is_no_state_of_ours_keeps_no_daemon_from_its_start(tmp_path, text):
    (tmp_path / "x.json").write_text(text, encoding="latin-1")
    assert Leases(tmp_path).all == ()
    assert Ledger(tmp_path, "boot").entries == ()
    assert Markers(tmp_path, tmp_path / "no", tmp_path / "no", tmp_path / "no").all == frozenset()
