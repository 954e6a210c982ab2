"""A host's keys on a LUN with two paths."""

import asyncio
import dataclasses

import pytest

from kvmlun import errors, fence
from kvmlun.fence import Fence
from kvmlun.keys import HOLDER, LOST, Keys
from kvmlun.request import Request
from kvmlun.rounds import Watched
from kvmlun.wait import Deadline

from . import worlds
from .targets import Target
from .worlds import LUN, UUID, WWID

HERE, THERE = "iqn.2026-11.com.example:here", "iqn.2026-11.com.example:there"
RIVAL = 2 << 32 | 1
PATHS = [worlds.disk(f"sd{n}", hctl=f"{n}:0:0:0", map="dm-0") for n in range(3)]
REQUEST = Request(LUN, "/nowhere/dm-0", False, False, UUID, fenced=True)
VM = Watched(UUID, "vm1", (REQUEST,))


class Paths:
    """Sends what is for a path to the target, from that path's initiator port."""

    def __init__(self, target):
        self.target = target

    async def call(self, name, disk, _number, _wwid, *args, timeout):
        return getattr(self.target, name)(f"{HERE},i,0x{disk}", *args)


class Guest:
    def __init__(self):
        self.calls = []
        self.paused = False

    async def runs_here(self, _uuid):
        return True

    async def is_paused(self, _uuid):
        return self.paused

    async def suspend(self, _uuid):
        self.calls.append("suspend")
        return True

    async def resume(self, _uuid):
        self.calls.append("resume")
        return True


class Host:
    """Two of its paths are there at first."""

    def __init__(self, folder, monkeypatch):
        self.target, self.guest, self.keys = Target(), Guest(), Keys(folder)
        self.fence = Fence(
            Paths(self.target),
            None,
            self.keys,
            self.guest,
            lambda _: True,
            lambda _: True,
            lambda _: None,
        )
        self.fence._host_id = lambda: 1
        self.there = 2
        monkeypatch.setattr(fence.sysfs, "sessions", self._sessions)
        monkeypatch.setattr(fence.sysfs, "initiator", lambda sid: HERE if sid else "")
        monkeypatch.setattr(fence, "_POLL_SECONDS", 0.0)
        monkeypatch.setattr(fence, "_LOSER_SECONDS", 0.0)

    def _sessions(self):
        return tuple(worlds.session(n, disk) for n, disk in enumerate(PATHS[: self.there], 1))

    def start(self):
        asyncio.run(self.fence.acquire(REQUEST, WWID, "vm1", Deadline(60)))
        return self.record

    def look(self):
        asyncio.run(self.fence.hold(VM, REQUEST, WWID))
        return self.record

    def stop(self):
        asyncio.run(self.fence.give_up(self.record, lambda _: False, 0.0))

    @property
    def record(self):
        return self.keys.get(str(WWID))


@pytest.fixture
def host(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


def test_every_path_has_the_key_and_loses_it(host):
    record = host.start()
    assert record.phase == HOLDER and record.paths == ("0:0:0:0", "1:0:0:0") and record.aptpl
    assert list(host.target.keys.values()) == [record.key] * 2
    host.stop()
    assert not host.target.keys and not host.target.holder and not host.record


def test_a_path_that_joins_has_it_before_it_is_used(host):
    host.start()
    host.there = 3
    asyncio.run(host.fence.admit(REQUEST, PATHS[2:], Deadline(60)))
    assert len(host.target.keys) == 3 and host.record.paths[-1] == "2:0:0:0"


def test_a_path_that_is_gone_again_is_told(host):
    host.start()
    with pytest.raises(errors.Storage, match="has just gone"):
        asyncio.run(host.fence.admit(REQUEST, PATHS[2:], Deadline(60)))


def test_a_path_that_joins_too_late_gets_none(host):
    host.start()
    host.target.keys = {THERE: RIVAL}
    host.target.holder = THERE
    host.there = 3
    with pytest.raises(errors.Stale):
        asyncio.run(host.fence.admit(REQUEST, PATHS[2:], Deadline(60)))
    assert host.target.keys == {THERE: RIVAL}


def test_what_a_path_left_that_was_logged_in_anew_goes_as_well(host):
    record = host.start()
    host.target.keys["an earlier login"] = record.key
    host.target.holder = "an earlier login"
    host.stop()
    assert not host.target.keys and not host.target.holder


def test_a_start_clears_what_a_reboot_has_left(host):
    stale = 1 << 32 | 5
    host.target.keys = {f"{HERE},i,0xsd0": stale, f"{HERE},i,0xearlier": stale}
    host.target.holder = f"{HERE},i,0xearlier"
    record = host.start()
    assert set(host.target.keys.values()) == {record.key} and len(host.target.keys) == 2


def test_a_refused_start_leaves_nothing(host):
    host.target.keys, host.target.holder = {THERE: RIVAL}, THERE
    with pytest.raises(errors.Refused, match=f"{THERE} .* holds it since .* kvmlun takeover vm1"):
        host.start()
    assert host.target.keys == {THERE: RIVAL} and not host.record


def test_who_may_write_without_holding_is_a_reason_to_refuse(host):
    host.target.keys = {THERE: RIVAL}
    with pytest.raises(errors.Refused, match="is registered and may write"):
        host.start()
    assert host.target.keys == {THERE: RIVAL} and not host.record


def test_a_guest_whose_lun_was_taken_is_suspended_for_good(host):
    host.start()
    host.target.keys, host.target.holder = {THERE: RIVAL}, THERE
    record = host.look()
    assert record.phase == LOST and THERE in record.why and "virsh destroy vm1" in record.why
    host.target.keys, host.target.holder = {}, None
    assert host.look().phase == LOST, "who took it has stopped by now, and has written"
    assert host.guest.calls == ["suspend"] * 2 and record.why in host.fence.troubles[0]
    host.stop()
    assert not host.record and not host.target.keys


def test_a_target_that_others_have_left_has_not_forgotten(host):
    host.start()
    host.target.keys, host.target.holder = {}, None
    assert host.target.generation and host.look().phase == LOST
    assert host.guest.calls == ["suspend"] and not host.target.keys


def test_a_target_that_forgot_is_reserved_again_while_the_guest_stands_still(host):
    host.start()
    host.target.__init__()
    record = host.look()
    assert record.phase == HOLDER and host.guest.calls == ["suspend", "resume"]
    assert list(host.target.keys.values()) == [record.key] * 2


def test_fencing_that_is_turned_on_under_a_guest(host):
    assert host.look().phase == HOLDER
    assert host.guest.calls == ["suspend", "resume"]


def test_a_guest_that_somebody_paused_stays_so(host):
    host.guest.paused = True
    assert host.look().phase == HOLDER
    assert "resume" not in host.guest.calls


def test_fencing_that_can_not_be_turned_on_lets_the_guest_go_on(host, monkeypatch):
    def refuse(*_):
        raise errors.Storage("no folder")

    monkeypatch.setattr(host.target, "pr_register", refuse)
    for _ in range(2):
        with pytest.raises(errors.Storage, match="no folder"):
            host.look()
    assert host.guest.calls == ["suspend", "resume"] and not host.record


def test_fencing_that_is_turned_on_where_another_host_writes(host):
    host.target.keys, host.target.holder = {THERE: RIVAL}, THERE
    with pytest.raises(errors.Refused, match="can't write"):
        host.look()
    assert not host.guest.calls and not host.record


def test_fencing_that_is_turned_off_under_a_guest(host):
    host.start()
    off = dataclasses.replace(VM, requests=(dataclasses.replace(REQUEST, fenced=False),))
    assert asyncio.run(host.fence._visit(off))
    assert not host.target.keys and not host.record


def test_a_host_that_leaves_waits_for_the_other_one(host):
    """Its key is taken by the one that the migration went to, or goes when that takes too long."""
    record = host.start()
    host.target.keys[THERE] = RIVAL

    async def leave():
        leaving = asyncio.ensure_future(host.fence.give_up(record, lambda _: False, 60.0))
        for _ in range(20):
            await asyncio.sleep(0)
        assert record.key in host.target.keys.values() and not leaving.done()
        assert host.target.pr_preempt(THERE, RIVAL, record.key)
        await leaving

    asyncio.run(leave())
    assert host.target.holder == THERE and not host.record


def test_a_takeover_shuts_out_only_what_was_shown(host):
    host.target.keys, host.target.holder = {THERE: RIVAL}, THERE

    def take(*rivals):
        return asyncio.run(host.fence.take_over(REQUEST, WWID, "vm1", rivals, Deadline(60)))

    with pytest.raises(errors.Refused, match="look again"):
        take(RIVAL + 1)
    assert [other.initiator for other in take(RIVAL)] == [THERE]
    assert set(host.target.keys.values()) == {host.record.key}
    host.start()
    assert set(host.target.keys.values()) == {host.record.key}, "the start it was for"


def test_a_target_that_lacks_something_is_told(host, monkeypatch):
    monkeypatch.setattr(host.target, "pr_capabilities", lambda _port: [True, True, True, False])
    with pytest.raises(errors.Refused, match="no PREEMPT AND ABORT"):
        host.start()
