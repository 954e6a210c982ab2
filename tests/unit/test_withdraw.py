"""How a host's keys go off a LUN with two paths."""

import asyncio
from unittest import mock

from .fenced import RIVAL, THERE


def test_what_a_path_left_that_was_logged_in_anew_goes_as_well(host):
    record = host.start()
    host.target.keys["an earlier login"] = record.key
    host.target.holder = "an earlier login"
    host.stop()
    assert not host.target.keys and not host.target.holder


def test_a_host_that_leaves_waits_for_the_other_one(host):
    """Its key is taken by the one that the migration went to, or goes when that takes too long."""
    record = host.start()
    host.target.keys[THERE] = RIVAL

    async def leave():
        leaving = asyncio.ensure_future(host.withdrawal.give_up(record, lambda _: False, 60.0))
        for _ in range(20):
            await asyncio.sleep(0)
        assert record.key in host.target.keys.values() and not leaving.done()
        assert host.target.pr_preempt(THERE, RIVAL, record.key)
        await leaving

    asyncio.run(leave())
    assert host.target.holder == THERE and not host.record


def test_patience_that_ends_while_the_target_answers_leaves_no_key(host, monkeypatch):
    record = host.start()
    host.target.keys[THERE] = RIVAL
    clock = mock.Mock(**{"monotonic.return_value": 0.0})
    monkeypatch.setattr("kvmlun.wait.time", clock)
    answer = host.target.pr_status

    def slowly(port):
        clock.monotonic.return_value += 2.0
        return answer(port)

    monkeypatch.setattr(host.target, "pr_status", slowly)
    asyncio.run(host.withdrawal.give_up(record, lambda _: False, 1.0))
    assert host.target.keys == {THERE: RIVAL} and not host.record
