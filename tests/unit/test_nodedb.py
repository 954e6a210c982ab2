"""Node records as files, in the forms that open-iscsi 2.1.8 wrote in the lab."""

import stat

import pytest

from kvmlun import errors, nodedb
from kvmlun.lun import Portal

from .worlds import PORTAL, TARGET

RECORD = f"""# BEGIN RECORD 2.1.8
node.name = {TARGET}
node.tpgt = -1
node.startup = manual
node.session.auth.authmethod = None
# END RECORD
"""


@pytest.fixture
def record(tmp_path, monkeypatch):
    monkeypatch.setattr(nodedb, "LOCK", tmp_path / "lock/lock")
    monkeypatch.setattr(nodedb._locked.__wrapped__, "__defaults__", (tmp_path / "lock/lock", 0.05))
    path = tmp_path / "nodes" / TARGET / "10.77.1.1,3260"
    path.parent.mkdir(parents=True)
    path.write_text(RECORD)
    return path


def test_both_forms_are_found(record, tmp_path):
    tagged = tmp_path / "nodes" / TARGET / "10.77.2.1,3260,1"
    tagged.mkdir()
    (tagged / "default").write_text(RECORD)
    assert nodedb.records(TARGET, PORTAL, (tmp_path,)) == [record]
    assert nodedb.records(TARGET, Portal("10.77.2.1"), (tmp_path,)) == [tagged / "default"]
    assert nodedb.records(TARGET, Portal("10.77.1.1", 860), (tmp_path,)) == []


def test_a_setting_wins_over_what_was_there(record):
    nodedb.configure(record, {"node.session.scan": "manual", "node.startup": "manual"})
    lines = record.read_text().splitlines()
    assert lines[-3:] == ["node.session.scan = manual", "node.startup = manual", "# END RECORD"]
    assert stat.S_IMODE(record.stat().st_mode) == 0o600


def test_nothing_else_is_left_in_the_database(record, tmp_path):
    nodedb.configure(record, {"a": "b"})
    assert list((tmp_path / "nodes" / TARGET).iterdir()) == [record]
    assert [path.name for path in (tmp_path / "lock").iterdir()] == ["lock"]


def test_a_lock_that_stays_taken_is_named(record, tmp_path):
    (tmp_path / "lock").mkdir()
    (tmp_path / "lock/lock.write").touch()
    with pytest.raises(errors.Timeout, match="lock.write"):
        nodedb.configure(record, {"a": "b"})
    assert record.read_text() == RECORD


def test_a_record_that_is_gone_is_an_error(record):
    record.unlink()
    with pytest.raises(errors.Storage, match="cannot write node record"):
        nodedb.configure(record, {"a": "b"})
