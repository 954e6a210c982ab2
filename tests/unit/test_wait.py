"""Waiting: for a condition, and for those who come first."""

import asyncio

import pytest

from kvmlun import errors
from kvmlun.wait import Changes, Deadline, Precedence, enough, within


def test_a_change_ends_the_wait_for_a_condition():
    async def play():
        changes, seen = Changes(), []
        asyncio.get_running_loop().call_later(0.01, lambda: (seen.append(1), changes.signal()))
        return await changes.until(lambda: seen, Deadline(5), "it", poll=5)

    assert asyncio.run(play()) == [1]


def test_a_wait_in_vain_names_its_step():
    with pytest.raises(errors.Timeout, match="the link took too long"):
        asyncio.run(Changes().until(lambda: None, Deadline(0.01), "the link"))


def test_work_that_can_wait_waits_until_the_last_holder_is_done():
    async def play():
        order, precedence = [], Precedence()

        async def serve(name, seconds):
            with precedence.held():
                await asyncio.sleep(seconds)
                order.append(name)

        tasks = [asyncio.ensure_future(serve("a", 0.01)), asyncio.ensure_future(serve("b", 0.02))]
        await asyncio.sleep(0)
        await precedence.free(5)
        order.append("free")
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(play()) == ["a", "b", "free"]


def test_work_that_can_wait_does_not_wait_for_ever():
    async def play():
        precedence = Precedence()
        with precedence.held():
            await asyncio.wait_for(precedence.free(0.01), 5)
            return True

    assert asyncio.run(play())


def ends_when_cancelled_in_the_moment_of_the_result(wait, happens):
    """Let `happens` end the inner wait, and cancel the outer one before it knows."""

    async def play():
        async def forever():
            while True:
                await wait()

        task = asyncio.ensure_future(forever())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        happens()
        await asyncio.sleep(0)
        task.cancel()
        ended, _ = await asyncio.wait([task], timeout=1)
        task.cancel()
        return bool(ended)

    return asyncio.run(play())


def test_a_cancellation_in_the_moment_of_a_change_is_not_lost():
    changes = Changes()
    assert ends_when_cancelled_in_the_moment_of_the_result(
        lambda: changes.until(lambda: None, Deadline(60), "it", poll=60), changes.signal
    )


def test_a_cancellation_in_the_moment_of_an_event_is_not_lost():
    event = asyncio.Event()

    async def wait():
        event.clear()
        await within(event.wait(), 60)

    assert ends_when_cancelled_in_the_moment_of_the_result(wait, event.set)


async def _succeeds(value):
    return value


async def _fails(text):
    raise errors.Storage(text)


async def _hangs(ended):
    try:
        await asyncio.sleep(60)
    finally:
        ended.append(1)


def test_enough_waits_for_all_that_end_and_a_moment_for_others():
    ended = []

    async def play():
        found, problems = await enough([_succeeds(1), _fails("no"), _hangs(ended)], 1, 0.01)
        await asyncio.sleep(0)
        return found, [str(problem) for problem in problems]

    assert asyncio.run(play()) == ([1], ["no"]) and ended == [1]


def test_fewer_than_enough_are_waited_for():
    async def play():
        late = asyncio.sleep(0.05, "late")
        return await enough([_succeeds(1), late], 2, 0.0)

    assert sorted(map(str, asyncio.run(play())[0])) == ["1", "late"]
