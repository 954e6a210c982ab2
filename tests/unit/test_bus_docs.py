"""The pages about D-Bus agree with what is there, member by member."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from dbus_next.service import ServiceInterface

from kvmlun import client, names
from kvmlun.bus import access
from kvmlun.bus.logcontrol import LogControl1
from kvmlun.bus.manager1 import Manager1
from kvmlun.bus.objects import Lun1, Session1

ROOT = Path(__file__).parents[2]
INDEX = (ROOT / "docs/dbus.md").read_text()
PAGES = {Manager1: "manager1", Lun1: "lun1", Session1: "session1", LogControl1: "logcontrol1"}
ACTIONS = {access.CONNECT, access.MANAGE, access.TAKE_OVER}


def page(name):
    return (ROOT / f"docs/dbus/{name}.md").read_text()


def documented_methods(text):
    """Return by name: arguments, result, and the action that polkit is asked for."""
    found = {}
    for part in re.split("^### ", text, flags=re.MULTILINE)[1:]:
        name, takes, gives = re.match(r"`(\w+)\((.*?)\)(?: → (.+?))?`\n", part).groups()
        arguments = [tuple(each.rsplit(" ", 1)) for each in takes.split(", ") if each]
        asked = re.findall(r"^Asks polkit for `(.+)`\.$", part, flags=re.MULTILINE)
        assert len(asked) <= 1 and name not in found
        signature = (gives or "").split(" ")[0]
        found[name] = (arguments, signature, asked[0] if asked else "")
    return found


def documented_properties(text):
    table = text.partition("| property |")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", table, flags=re.MULTILINE))


def introspected(kind):
    """Return methods as documented_methods() does, and signatures of properties."""
    interface = kind.__new__(kind)
    ServiceInterface.__init__(interface, kind.interface)
    found = interface.introspect()
    methods = {
        each.name: (
            [(arg.signature, arg.name) for arg in each.in_args],
            "".join(arg.signature for arg in each.out_args),
            getattr(kind, each.name).action,
        )
        for each in found.methods
    }
    return methods, {each.name: each.signature for each in found.properties}


@pytest.mark.parametrize("kind", PAGES, ids=PAGES.values())
def test_each_member_has_its_place_on_the_page_and_nothing_else_has(kind):
    text = page(PAGES[kind])
    assert text.startswith(f"# {kind.interface}\n")
    assert (documented_methods(text), documented_properties(text)) == introspected(kind)
    assert f"(dbus/{PAGES[kind]}.md)" in INDEX and f"`{kind.interface}`" in INDEX


def test_actions_are_those_of_the_policy_with_their_methods():
    policy = ElementTree.parse(ROOT / "polkit/io.github.kvmlun.policy")
    assert {each.get("id") for each in policy.iter("action")} == ACTIONS
    rows = re.findall(r"^\| `(io\.github\.kvmlun\.[a-z-]+)` \| (.+?) \|", INDEX, re.MULTILINE)
    told = {action: set(re.findall(r"`(\w+)`", methods)) for action, methods in rows}
    methods = introspected(Manager1)[0]
    assert told == {
        action: {name for name, (*_, asked) in methods.items() if asked == action}
        for action in ACTIONS
    }


def test_who_may_look_is_told_all_that_asks_nobody():
    (row,) = re.findall(r"^\| the group `libvirt` \| look \((.+?)\)", INDEX, re.MULTILINE)
    methods = introspected(Manager1)[0]
    looking = {name for name, (*_, asked) in methods.items() if not asked}
    assert set(re.findall(r"`(\w+)`", row)) == looking


def test_each_error_has_a_row():
    rows = re.findall(rf"^\| `{re.escape(names.ERROR)}(\w+)` \|", INDEX, re.MULTILINE)
    assert sorted(rows) == sorted({*client._KINDS, "Internal"})
