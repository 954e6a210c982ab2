"""Fenced LUNs along a domain's way."""

import asyncio
import dataclasses

import pytest

from kvmlun import errors, handover
from kvmlun.arrivals import Arrivals
from kvmlun.handover import Handover
from kvmlun.keys import ARRIVING, HOLDER, Keys, Record
from kvmlun.leases import Leases, boottime
from kvmlun.request import Request
from kvmlun.wait import Deadline

from . import worlds
from .worlds import LUN, OTHER_WWID, UUID, WWID

OTHER = dataclasses.replace(LUN, wwid=OTHER_WWID)
REQUESTS = [
    Request(OTHER, OTHER_WWID.link, False, False, UUID, fenced=True),
    Request(LUN, WWID.link, False, False, UUID, fenced=True),
]
DOMAIN = worlds.domain(OTHER_WWID.link, WWID.link)


class Fence:
    """Keeps what it is asked for; refuses to acquire the WWID `held`."""

    def __init__(self):
        self.calls, self.held = [], None

    async def expect(self, _request, wwid, _source, _deadline):
        self.calls.append(("expect", wwid))

    async def register(self, request, wwid, domain, _source, _deadline):
        self.calls.append(("register", wwid))
        address = request.lun.address
        self.keys.put(
            Record(
                str(wwid), request.domain, domain, 1, ARRIVING, link=request.link,
                target=address.target, lun=address.lun,
            )
        )  # fmt: skip

    async def acquire(self, _request, wwid, _domain, _deadline):
        self.calls.append(("acquire", wwid))
        if wwid == self.held:
            raise errors.Refused("held")

    async def renew(self, record):
        self.calls.append(("renew", record.wwid))

    async def hold(self, _domain, request, wwid):
        assert request.pinned == wwid and request.link == wwid.link
        self.calls.append(("hold", wwid))
        self.keys.change(self.keys.get(str(wwid)), phase=HOLDER)


class Way:
    def __init__(self, folder):
        self.fence, self.here = Fence(), False
        self.fence.keys = Keys(folder / "keys")
        self.made = Handover(
            self.fence, self.fence, None, self.fence.keys, Arrivals(folder / "arriving"),
            Leases(folder / "leases"), self.runs_here, lambda _: True, lambda: 0.0, lambda: None,
        )  # fmt: skip

    async def runs_here(self, _uuid):
        return self.here

    def prepare(self):
        wwids = [request.pinned for request in REQUESTS]
        asyncio.run(self.made.prepare(DOMAIN, REQUESTS, wwids, boottime(), Deadline(60)))

    def started(self):
        asyncio.run(self.made.started(DOMAIN, REQUESTS, Deadline(60)))

    def turned(self, *, again=False):
        """Tell it once, or twice at the same moment."""

        async def told():
            self.made.turned(UUID)
            if again:
                self.made.turned(UUID)
            while self.made._turning:
                await asyncio.sleep(0)

        asyncio.run(told())


@pytest.fixture
def way(tmp_path, monkeypatch):
    monkeypatch.setattr(handover.qemu, "is_incoming", lambda _uuid: True)
    return Way(tmp_path)


def test_luns_are_taken_in_the_same_order_everywhere(way):
    way.fence.held = OTHER_WWID
    with pytest.raises(errors.Refused):
        way.prepare()
    assert way.fence.calls == [("acquire", WWID), ("acquire", OTHER_WWID)]


def test_a_migration_is_the_holder_when_it_runs_here_and_not_before(way):
    way.made.announce(DOMAIN, REQUESTS)
    way.prepare()
    assert {call for call, _ in way.fence.calls} == {"expect"}
    way.started()
    way.turned()
    assert [call for call, _ in way.fence.calls[2:]] == ["register"] * 2 + ["renew"] * 2
    way.here = True
    way.turned(again=True)
    way.turned()
    assert [call for call, _ in way.fence.calls[6:]] == ["hold", "hold"]


def test_a_start_after_an_announcement_has_to_become_the_holder(way, monkeypatch):
    monkeypatch.setattr(handover.qemu, "is_incoming", lambda _uuid: False)
    way.made.announce(DOMAIN, REQUESTS)
    way.prepare()
    way.fence.held = WWID
    with pytest.raises(errors.Refused):
        way.started()


def test_what_is_restored_is_no_migration(way):
    way.made.announce(DOMAIN, REQUESTS)
    way.made.ended(UUID)
    way.prepare()
    assert {call for call, _ in way.fence.calls} == {"acquire"}


def test_an_announcement_that_can_not_be_removed_ends_nothing(way, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("kvmlun.arrivals.SECONDS", 0.0)
    way.made.announce(DOMAIN, REQUESTS)
    (stuck,) = (tmp_path / "arriving").iterdir()
    stuck.unlink()
    stuck.mkdir()
    for _ in range(2):
        way.made.expire()
    assert len(caplog.messages) == 1 and str(stuck) in caplog.text
