"""Looking at the LUNs of a dead host's VM: what stays here, and what goes at once."""

import asyncio
import io
from types import SimpleNamespace

import pytest

from kvmlun import errors
from kvmlun.cli import takeover as command
from kvmlun.leases import TAKEOVER, Leases
from kvmlun.libvirtconn import Listing
from kvmlun.request import Request
from kvmlun.reservation import Reservation
from kvmlun.takeover import Takeovers

from . import worlds
from .worlds import LUN, UUID, WWID

REQUEST = Request(LUN, WWID.link, False, False, UUID, fenced=True)


class World:
    """A host where vm1 is off, and everything works unless `fails` says otherwise."""

    def __init__(self, folder):
        self.leases, self.fails = Leases(folder), None
        off = worlds.guest(persistent=worlds.domain(WWID.link), active=False)
        self.made = Takeovers(
            worlds.domains(Listing(0.0, (off,))), lambda: 45.0, lambda _: [REQUEST],
            self.leases, SimpleNamespace(attach=self.attach),
            SimpleNamespace(others=self.others, take_over=self.take_over), lambda: None,
        )  # fmt: skip

    async def attach(self, *_):
        if self.fails:
            raise self.fails
        return WWID

    async def others(self, *_):
        return Reservation(())

    async def take_over(self, *_):
        return ()

    def compare(self):
        return asyncio.run(self.made.compare("vm1"))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.mark.parametrize("name", ["vm1", UUID])
def test_what_was_only_looked_at_goes_at_once(world, name):
    world.compare()
    assert world.leases.get(UUID).expires
    world.made.stop_comparing("vm2")
    assert world.leases.get(UUID)
    world.made.stop_comparing(name)
    assert not world.leases.all
    world.made.stop_comparing(name)


def test_what_could_not_be_looked_at_goes_as_well(world):
    world.fails = errors.Timeout("no answer")
    with pytest.raises(errors.Timeout):
        world.compare()
    assert not world.leases.all


def test_what_was_taken_over_stays_whoever_looks_again(world):
    asyncio.run(world.made.take_over("vm1", {}))
    world.compare()
    world.made.stop_comparing("vm1")
    world.fails = errors.Timeout("no answer")
    with pytest.raises(errors.Timeout):
        world.compare()
    (lease,) = world.leases.all
    assert (lease.role, lease.expires) == (TAKEOVER, None)


def test_a_vm_that_starts_meanwhile_keeps_its_own(world):
    world.compare()
    world.leases.take(UUID, "vm1", [REQUEST.need], began=0.0)
    before = world.leases.all
    world.made.stop_comparing("vm1")
    assert world.leases.all == before


# The command


HOLDING = {
    "name": "volume vm1-root",
    "wwid": str(WWID),
    "holder_key": "0x2",
    "registrants": [{"initiator": "iqn.x:there", "key": "0x2"}],
}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def answered(monkeypatch, answer, holding=HOLDING, **given):
    """Run it at a terminal; return what it asked of kvmlund, and its error."""
    asked, problem = [], None

    def method(name, result):
        async def call(*_):
            asked.append(name)
            return result

        return call

    client = SimpleNamespace(
        compare_holders=method("compare", [holding]),
        stop_comparing=method("stop", None),
        take_over=method("take over", []),
    )
    arguments = SimpleNamespace(**{"vm": "vm1", "yes": False, "give_up": False, **given})
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    try:
        asyncio.run(command._takeover(client, arguments))
    except errors.Error as error:
        problem = error
    return asked, problem


def test_who_does_not_say_yes_has_looked_and_nothing_else(monkeypatch):
    for answer in ("n\n", "", "y\n"):
        asked, problem = answered(monkeypatch, answer)
        assert asked == ["compare", "stop"] and isinstance(problem, errors.Refused)


def test_where_nobody_has_to_be_shut_out_nothing_stays(monkeypatch):
    alone = {**HOLDING, "registrants": []}
    assert answered(monkeypatch, "", alone) == (["compare", "stop"], None)


def test_what_is_taken_over_is_not_let_go(monkeypatch):
    assert answered(monkeypatch, "yes\n") == (["compare", "take over"], None)
    assert answered(monkeypatch, "", yes=True) == (["compare", "take over"], None)


def test_a_terminal_takes_no_name_for_a_command(monkeypatch, capsys):
    answered(monkeypatch, "no\n", {**HOLDING, "name": "/dev/disk/by-path/\x9b2J"})
    told = capsys.readouterr().err
    assert "by-path/ 2J" in told and "\x9b" not in told
