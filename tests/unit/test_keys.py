"""The keys that this host has written down."""

import json

import pytest

from kvmlun import errors, keys
from kvmlun.keys import HOLDER, STARTING, Keys, Record

RECORD = Record("naa.60014051111111111111111111111111", "uuid", "vm1", 1 << 63, STARTING)


def test_a_record_outlives_the_daemon(tmp_path):
    kept = Keys(tmp_path)
    made = kept.change(kept.put(RECORD), phase=HOLDER, paths=("2:0:0:0",))
    assert Keys(tmp_path).all == (made,) and made.paths == ("2:0:0:0",)
    kept.drop(made)
    assert not Keys(tmp_path).all and not list(tmp_path.iterdir())


def test_a_record_that_was_replaced_is_not_dropped(tmp_path):
    kept = Keys(tmp_path)
    kept.put(RECORD)
    newer = kept.change(RECORD, key=2)
    kept.drop(RECORD)
    assert kept.get(RECORD.wwid) == newer and kept.of("uuid") == (newer,)


def test_any_wwid_is_a_file(tmp_path):
    kept = Keys(tmp_path)
    for wwid in ("t10.a/../b", "t10." + "x" * 254):
        kept.put(Record(wwid, "uuid", "vm1", 1, STARTING))
    assert len(Keys(tmp_path).all) == 2 and len(list(tmp_path.iterdir())) == 2


def test_what_is_no_record_is_left_out(tmp_path):
    (tmp_path / "naa.1.json").write_text(json.dumps({"wwid": "naa.1", "key": "one"}))
    assert not Keys(tmp_path).all


def test_a_full_disk_is_told(tmp_path):
    (tmp_path / "keys").write_text("no folder")
    with pytest.raises(errors.Storage):
        Keys(tmp_path / "keys").put(RECORD)


def test_a_clone_of_a_hosts_disk_has_an_id_of_its_own(tmp_path):
    machine, board = tmp_path / "machine-id", tmp_path / "uuid"
    machine.write_text("0123456789abcdef0123456789abcdef\n")
    without = keys.host_id(machine, board)
    board.write_text("first")
    first = keys.host_id(machine, board)
    board.write_text("second")
    assert len({without, first, keys.host_id(machine, board)}) == 3
    assert all(0 < each < 1 << 32 for each in (without, first))
