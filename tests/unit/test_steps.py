"""What an operation waits for, and how long its steps took."""

import asyncio
import contextlib
import json

import pytest

from kvmlun import errors, steps
from kvmlun.traces import RELEASE, Traces
from kvmlun.wait import Changes, Deadline, turn

UUID = "3c1b0f5e-0000-4000-8000-000000000001"
TARGET = "iqn.2026-11.com.example:vm1"


@pytest.fixture
def traces(tmp_path):
    return Traces(lambda: None, tmp_path)


def texts(traces, uuid=UUID):
    return [(each.name, [step.text for step in each.steps]) for each in traces.of(uuid)]


def test_outside_of_an_operation_a_step_is_nothing():
    with steps.step("login"):
        pass


def test_what_is_waited_for_is_a_step_and_what_is_there_is_none(traces):
    async def play():
        changes, seen, lock = Changes(), [], asyncio.Lock()
        with traces.operation("prepare", "vm1", UUID):
            await changes.until(lambda: True, Deadline(5), "what is there")
            asyncio.get_running_loop().call_later(0.02, lambda: (seen.append(1), changes.signal()))
            await changes.until(lambda: seen, Deadline(5), "udev's event")
            async with turn(lock, "nobody", Deadline(5)):
                pass
            await lock.acquire()
            asyncio.get_running_loop().call_later(0.02, lock.release)
            async with turn(lock, "another login", Deadline(5)):
                pass

    asyncio.run(play())
    assert texts(traces) == [("prepare", ["udev's event", "another login"])]
    (made,) = traces.of(UUID)
    first, second = made.steps
    assert 0.01 < first.seconds <= second.after <= made.seconds - second.seconds + 0.001


def test_tasks_that_an_operation_begins_take_its_steps_along(traces):
    async def login(name):
        with steps.step(name):
            await asyncio.sleep(0)

    async def play():
        with traces.operation("prepare", "vm1", UUID):
            await asyncio.gather(login("a"), login("b"))
        await login("of nobody")

    asyncio.run(play())
    assert texts(traces) == [("prepare", ["a", "b"])]


def test_a_long_wait_is_shown_while_it_lasts(traces, monkeypatch):
    monkeypatch.setattr(steps, "SHOWN_SECONDS", 0.02)
    told = []

    async def play():
        shown = asyncio.Event()
        traces._changed = lambda: (told.append(traces.waiting), shown.set())
        with traces.operation("connect", "data-0"):
            with steps.step("what is short"):
                assert traces.waiting == ()
            with steps.step("login"):
                await asyncio.wait_for(shown.wait(), 5)

    asyncio.run(play())
    (first,), after = told
    assert (first.operation, first.subject, first.step) == ("connect", "data-0", "login")
    assert after == ()


def test_a_failure_is_kept_with_its_reason(traces):
    with pytest.raises(errors.Refused), traces.operation("prepare", "vm1", UUID, waited=3.0):
        raise errors.Refused("no")
    (made,) = traces.of(UUID)
    assert made.result == "no" and 3.0 <= made.seconds < 4.0


def test_a_bug_and_an_end_of_kvmlund_are_not_taken_for_done(traces):
    with pytest.raises(ZeroDivisionError), traces.operation("start", "vm1", UUID):
        raise ZeroDivisionError
    with pytest.raises(asyncio.CancelledError), traces.operation("prepare", "vm1", UUID):
        raise asyncio.CancelledError
    results = {made.name: made.result for made in traces.of(UUID)}
    assert results == {
        "start": errors.INTERNAL,
        "prepare": "kvmlund ended meanwhile",
    }


def test_what_cost_nothing_is_not_kept(traces, tmp_path):
    with traces.operation("start", "vm1", UUID):
        pass
    assert traces.of(UUID) == [] and not list(tmp_path.iterdir())


def test_the_end_of_a_session_belongs_to_the_release(traces, tmp_path):
    async def play():
        with traces.operation(RELEASE, "vm1", UUID, targets=[TARGET]):
            pass
        with traces.ending("iqn.2026-11.com.example:other"), steps.step("logout of the other"):
            pass
        with traces.ending(TARGET), steps.step("logout"):
            await asyncio.sleep(0.01)

    asyncio.run(play())
    assert texts(traces) == [(RELEASE, ["logout"])]
    assert traces.of(UUID)[0].seconds > 0.01
    # So it is for a kvmlund that is started meanwhile.
    again = Traces(lambda: None, tmp_path)

    async def go_on():
        with again.ending(TARGET), steps.step("the node record"):
            pass

    asyncio.run(go_on())
    assert texts(again) == [(RELEASE, ["logout", "the node record"])]
    assert texts(Traces(lambda: None, tmp_path)) == texts(again)


def test_of_two_releases_the_last_one_has_the_session(traces):
    other = UUID.replace("3", "4")

    async def play():
        for uuid in (UUID, other):
            with traces.operation(RELEASE, "vm", uuid, targets=[TARGET]):
                pass
        with traces.ending(TARGET), steps.step("logout"):
            pass

    asyncio.run(play())
    assert (texts(traces), texts(traces, other)) == ([(RELEASE, [])], [(RELEASE, ["logout"])])


def test_what_somebody_else_let_go_of_since_is_no_part_of_the_release(traces, tmp_path):
    with traces.operation(RELEASE, "vm1", UUID, targets=[TARGET, "other"]):
        pass
    assert traces.last_user(TARGET) == "vm1"
    traces.let_go([TARGET])
    for each in (traces, Traces(lambda: None, tmp_path)):
        assert (each.last_user(TARGET), each.last_user("other")) == ("", "vm1")


def test_what_an_operation_left_running_is_added_to_it(traces, tmp_path):
    async def play():
        go = asyncio.Event()

        async def login():
            with steps.step("login"):
                await go.wait()

        with traces.operation("prepare", "vm1", UUID):
            task = asyncio.ensure_future(login())
            await asyncio.sleep(0)
        go.set()
        await task

    asyncio.run(play())
    kept = json.loads((tmp_path / f"{UUID}.json").read_text())
    assert kept["prepare"]["steps"][0]["seconds"] is not None


def test_those_that_were_quiet_for_longest_are_forgotten(traces, tmp_path, monkeypatch):
    monkeypatch.setattr("kvmlun.traces._DOMAINS", 2)
    for name in "abac":
        with contextlib.suppress(errors.Refused), traces.operation("prepare", name, name):
            raise errors.Refused("no")
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["a", "c"]


@pytest.mark.parametrize("text", ["[]", "{", '{"prepare": 1}', '{"prepare": {"steps": 1}}'])
def test_a_file_that_is_not_ours_is_left(tmp_path, text):
    (tmp_path / f"{UUID}.json").write_text(text)
    assert Traces(lambda: None, tmp_path).of(UUID) == []
