"""What kvmlund writes to the journal, and that each kind of event is explained."""

import asyncio
import logging
import re
from pathlib import Path

from systemd.journal import JournalHandler

from kvmlun import events, journal

ROOT = Path(__file__).parents[2]
CATALOG = ROOT / "systemd/kvmlun.catalog"


def record(message, *args, level=logging.WARNING, exc_info=None, extra=None):
    return logging.getLogger("kvmlun.x").makeRecord(
        "kvmlun.x", level, "x.py", 1, message, args, exc_info, extra=extra
    )


def logged(message, *args, exc_info=None):
    return journal.Printable("%(name)s: %(message)s").format(
        record(message, *args, exc_info=exc_info)
    )


def test_a_name_from_outside_makes_no_second_line():
    name = "vm\nkvmlun.login: logged in\x1b[2J\u202e"
    assert logged("%s: refused", name) == "kvmlun.x: vm kvmlun.login: logged in [2J : refused"


def test_a_traceback_keeps_its_lines():
    try:
        raise ValueError("\x1b[2J")
    except ValueError as error:
        lines = logged("failed", exc_info=(ValueError, error, error.__traceback__)).splitlines()
    assert lines[:2] == ["kvmlun.x: failed", "Traceback (most recent call last):"]
    assert lines[-1] == "ValueError:  [2J"


def sent(monkeypatch, *records):
    """Return the fields of each record that would be in the journal, without where it came from."""
    found = []
    monkeypatch.setattr(
        "systemd.journal.send", lambda message, **more: found.append({"MESSAGE": message, **more})
    )
    handler = JournalHandler(sender_function=journal.send, SYSLOG_IDENTIFIER="kvmlund")
    handler.addFilter(journal.add_context)
    for each in records:
        handler.handle(each)
    return [{k: v for k, v in each.items() if not k.startswith("CODE_")} for each in found]


def test_a_line_says_what_it_is_about(monkeypatch):
    with events.about(domain="vm1", operation="prepare"), events.about(wwid="naa.6"):
        plain = record("logged in to %s", "iqn.x", extra=events.LOGGED_IN())
        (first,) = sent(monkeypatch, plain)
        own = record("x", extra=events.POSTPONED(operation="end-session"))
        (second,) = sent(monkeypatch, own)
    (third,) = sent(monkeypatch, record("y"))
    known = {"SYSLOG_IDENTIFIER": "kvmlund", "LOGGER": "kvmlun.x", "PRIORITY": "4"}
    about = {"KVMLUN_DOMAIN": "vm1", "KVMLUN_WWID": "naa.6", "KVMLUN_OPERATION": "prepare"}
    assert first == {
        **known, **about, "MESSAGE": "logged in to iqn.x", "MESSAGE_ID": events.LOGGED_IN.id
    }  # fmt: skip
    assert second == {
        **known, **about, "MESSAGE": "x", "MESSAGE_ID": events.POSTPONED.id,
        "KVMLUN_OPERATION": "end-session",
    }  # fmt: skip
    assert third == {**known, "MESSAGE": "y"}
    assert events.REFUSED(domain="vm\x1b[2J\n")["KVMLUN_DOMAIN"] == "vm [2J "


def test_what_a_task_logs_is_about_what_it_was_begun_for(monkeypatch):
    async def task():
        await asyncio.sleep(0)
        return sent(monkeypatch, record("x"))[0]

    async def begin():
        with events.about(domain="vm1"):
            going = asyncio.ensure_future(task())
        with events.about(domain="vm2"):
            return await going

    assert asyncio.run(begin())["KVMLUN_DOMAIN"] == "vm1"


def test_levels_have_their_names():
    root = logging.getLogger()
    before = root.level
    try:
        for name in journal.LEVELS:
            journal.set_level(name)
            assert (journal.level(), root.level) == (name, journal.LEVELS[name])
    finally:
        root.setLevel(before)


def declared():
    return {name: each.id for name, each in vars(events).items() if isinstance(each, events.Event)}


def used():
    """Return the names of events that some line in kvmlun/ is of."""
    files = (ROOT / "kvmlun").rglob("*.py")
    return {
        name for file in files for name in re.findall(r"\bevents\.([A-Z_]+)\(", file.read_text())
    }


def explained():
    """Return id: (subject, text) of each entry of the catalog."""
    entries = re.split(r"^-- ", CATALOG.read_text(), flags=re.MULTILINE)[1:]
    found = {}
    for entry in entries:
        head, _, text = entry.partition("\n\n")
        id, *lines = head.splitlines()
        assert id not in found
        header = dict(line.split(": ", 1) for line in lines)
        assert header["Defined-By"] == "kvmlun" and header["Support"]
        found[id] = (header["Subject"], text.strip())
    return found


def test_each_event_is_explained_and_used_and_nothing_else_is():
    assert sorted(declared().values()) == sorted(explained())
    assert used() == set(declared())
    assert all(subject and text for subject, text in explained().values())
    assert all(re.fullmatch("[0-9a-f]{32}", id) for id in explained())


def test_the_catalog_names_only_fields_that_lines_have():
    known = {"KVMLUN_DOMAIN", "KVMLUN_WWID", "KVMLUN_OPERATION", "MESSAGE"}
    assert set(re.findall("@([A-Z_]+)@", CATALOG.read_text())) <= known


def test_the_docs_have_the_table_of_events():
    page = (ROOT / "docs/journal.md").read_text()
    rows = dict(re.findall(r"^\| `([0-9a-f]{32})` \| (.+?) \|", page, flags=re.MULTILINE))
    assert rows == {id: subject for id, (subject, _) in explained().items()}
