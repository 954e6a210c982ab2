"""How a host gets the right to write to a LUN with two paths."""

import asyncio

import pytest

from kvmlun import errors
from kvmlun.keys import HOLDER
from kvmlun.wait import Deadline

from .fenced import HERE, PATHS, REQUEST, RIVAL, THERE
from .worlds import WWID


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
