"""Events, read from a journal's own file and shown."""

import datetime
import json
import subprocess
from pathlib import Path

import pytest

from kvmlun import events
from kvmlun.cli import events as command
from kvmlun.cli.looks import Looks
from kvmlun.eventlog import UNIT, EventLog, Told

journal_remote = Path("/lib/systemd/systemd-journal-remote")
needs_journal = pytest.mark.skipif(
    not journal_remote.exists(), reason="systemd-journal-remote is not installed"
)

START = 1_700_000_000
WWID = "naa.60014051111111111111111111111111"


def entry(number, text, unit=UNIT, **fields):
    """An entry in the journal's export format."""
    stamps = {"__REALTIME_TIMESTAMP": (START + number) * 10**6, "__MONOTONIC_TIMESTAMP": number}
    fields = {**stamps, "_BOOT_ID": "0" * 31 + "1", "_SYSTEMD_UNIT": unit, **fields}
    return "".join(f"{k}={v}\n" for k, v in {**fields, "MESSAGE": text}.items()) + "\n"


@pytest.fixture
def folder(tmp_path):
    """A journal with events, what is for debugging, and another unit's."""
    lines = [
        entry(1, "kvmlund 0.1.0", **events.STARTED(), PRIORITY=6),
        entry(2, "run iscsiadm", PRIORITY=7),
        entry(3, "forged", unit="cron.service", **events.STARTED(), PRIORITY=6),
        entry(4, "vm1: ready", **events.READY(domain="vm1", operation="prepare"), PRIORITY=6),
        entry(5, "vm2 prepare: refused", **events.REFUSED(domain="vm2"), PRIORITY=4),
        entry(6, "removed", **events.REMOVED(wwid=WWID), PRIORITY=3),
    ]
    argv = [journal_remote, "--output", tmp_path / "a.journal", "-"]
    subprocess.run(argv, input="".join(lines), text=True, check=True, capture_output=True)
    return str(tmp_path)


def texts(told):
    return [each.text for each in told]


@needs_journal
def test_only_what_kvmlund_tells_an_operator_counts(folder):
    log = EventLog(folder=folder)
    told = log.last(10)
    assert texts(told) == ["kvmlund 0.1.0", "vm1: ready", "vm2 prepare: refused", "removed"]
    assert texts(EventLog(folder=folder).last(2)) == ["vm2 prepare: refused", "removed"]
    ready = told[1]
    assert (ready.domain, ready.operation, ready.priority) == ("vm1", "prepare", 6)
    assert ready.id == events.READY.id
    assert ready.at.timestamp() == START + 4


@needs_journal
def test_of_one_vm_or_lun(folder):
    assert texts(EventLog("vm2", folder=folder).last(10)) == ["vm2 prepare: refused"]
    assert texts(EventLog(wwid=WWID, folder=folder).last(10)) == ["removed"]
    assert texts(EventLog("vm3", folder=folder).last(10)) == []


@needs_journal
@pytest.mark.parametrize("number", [0, 2])
def test_what_is_followed_begins_behind_the_last(folder, number):
    log = EventLog(folder=folder)
    log.last(number)
    assert next(iter(log._reader), None) is None


def told(**changes):
    at = datetime.datetime(2026, 11, 26, 7, 3, 12)
    values = {"priority": 6, "id": "", "domain": "vm1", "wwid": "", "operation": ""}
    return Told(**{"at": at, "text": "ready", **values, **changes})


def test_a_line_has_time_vm_and_text_and_its_colour_is_how_grave_it_is():
    assert command.line(told(), Looks()) == "2026-11-26 07:03:12  vm1         ready"
    assert command.line(told(domain=""), Looks()).split()[2] == "-"
    assert command.line(told(priority=3), Looks(colours=True)).startswith("\x1b[31m2026")
    assert command.line(told(priority=4), Looks(colours=True)).startswith("\x1b[33m2026")


def test_at_a_terminal_all_of_a_line_is_told():
    text = "refused: somebody holds it; stop its VM there"
    assert command.line(told(text=text), Looks(width=60)).splitlines() == [
        "2026-11-26 07:03:12  vm1         refused: somebody holds it;",
        "    stop its VM there",
    ]


def test_json_is_an_object_a_line():
    value = json.loads(command.json_line(told(text="a\nb")))
    assert value["text"] == "a\nb" and value["at"].startswith("2026-11-26T07:03:12")


def test_an_entry_may_lack_everything_but_its_time():
    at = datetime.datetime(2026, 1, 1)
    assert Told.of({"__REALTIME_TIMESTAMP": at}) == told(at=at, domain="", text="")
    assert Told.of({"__REALTIME_TIMESTAMP": at, "MESSAGE": b"\xff"}).text == "b'\\xff'"
