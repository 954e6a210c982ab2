"""What is pinned against what is there, and the metadata after a pin has changed."""

import asyncio
import dataclasses
from types import SimpleNamespace

from kvmlun import repin
from kvmlun.cli import repin as command
from kvmlun.config import Config, Settings
from kvmlun.lun import LunAddress
from kvmlun.repin import Repin, comparison, repinned
from kvmlun.traces import Traces

from .worlds import ADDRESS, BY_PATH, LUN, OTHER_WWID, WWID, domain, domains, guest

VOLUME = dataclasses.replace(LUN, volume="vm1", size=None)
NAMED = guest(None, domain(BY_PATH, luns=[LUN]), active=False)


def test_what_a_volume_and_its_domains_have_pinned():
    spelled = guest(None, domain(WWID.link, luns=[LUN]), active=False)
    made = comparison(VOLUME, OTHER_WWID, 7, [NAMED, spelled])
    assert made.pinned == (WWID,) and made.found == OTHER_WWID and made.size == 7
    assert made.domains == ("vm1",), "a by-id link spells its pin itself"
    assert made.links == (("vm1", WWID.link),)


def test_a_lun_of_no_volume_is_pinned_by_its_domains():
    made = comparison(dataclasses.replace(LUN, wwid=None), OTHER_WWID, 7, [NAMED])
    assert made.pinned == (WWID,) and made.domains == ("vm1",)


def test_metadata_with_the_new_pin():
    second = dataclasses.replace(LUN, address=LunAddress(ADDRESS.target, 1))
    made = comparison(VOLUME, OTHER_WWID, 7, [NAMED])
    both = guest(None, domain(BY_PATH, luns=[LUN, second]), active=False)
    new = dataclasses.replace(LUN, wwid=OTHER_WWID, size=None)
    assert repinned(both, made) == (new, second)
    right = guest(None, domain(BY_PATH, luns=[new]), active=False)
    assert repinned(right, made) == ()
    assert repinned(guest(None, domain(WWID.link, luns=[LUN]), active=False), made) == ()


def test_the_target_is_waited_for_by_its_address(monkeypatch, tmp_path):
    found = SimpleNamespace(wwid=str(OTHER_WWID), size=7)
    monkeypatch.setattr(repin, "_shown", lambda lun: found)
    config, traces = Config(Settings(), {"vm1": VOLUME}), Traces(lambda: None, tmp_path)
    pins = Repin(lambda: config, domains(), lambda: None, None)

    async def play():
        with traces.operation("repin", "vm1", "a"):
            return await pins.compare("vm1")

    assert asyncio.run(play()).found == OTHER_WWID
    (made,) = traces.of("a")
    assert [step.text for step in made.steps] == [f"{ADDRESS} at {LUN.portals[0]}"]


def test_a_terminal_takes_no_domains_name_for_a_command():
    """libvirt lets U+009B into names, with which terminals begin commands as with ESC [."""
    made = {
        "volume": "vm1",
        "address": str(ADDRESS),
        "pinned": [str(WWID)],
        "size": 1 << 20,
        "found": str(OTHER_WWID),
        "domains": ["vm\x9b2J"],
        "links": [["a\x9b2J", "b\x9b2J"]],
    }

    async def answer(*_):
        return made

    client = SimpleNamespace(compare_pin=answer, repin=answer)
    given = SimpleNamespace(what="vm1", yes=True)
    told = asyncio.run(command._repin(client, given))
    assert "vm 2J: pinned anew\n" in told and "\x9b" not in told
