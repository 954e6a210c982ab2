"""Work in processes that may be lost: real workers, real signals."""

import asyncio
import os
import signal

import pytest

from kvmlun import errors
from kvmlun.wait import Changes, Deadline
from kvmlun.worker import Workers, answer


def run(coroutine):
    return asyncio.run(coroutine)


@pytest.fixture
def path(monkeypatch):
    """Let workers find the package in this checkout although they start isolated."""
    spawn = asyncio.create_subprocess_exec
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))

    async def here(python, *args, **kwargs):
        program = (
            f"import sys; sys.path.insert(0, {root!r}); from kvmlun import worker; worker.main()"
        )
        return await spawn(python, "-c", program, **kwargs)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", here)


def test_a_call_comes_back_and_its_worker_is_used_again(path):
    async def scenario():
        workers = Workers()
        await workers.start()
        (first,) = workers._idle
        found = await workers.call("delete", "99:0:0:0", timeout=10)
        assert workers._idle == [first]
        await workers.stop()
        assert first.returncode == 0
        return found

    assert run(scenario()) is None


def test_an_os_error_is_told_in_one_line(path):
    async def scenario():
        with pytest.raises(errors.Storage, match="SCSI rescan 99:0:0:0: No such file"):
            await Workers().call("rescan", "99:0:0:0", timeout=10)

    run(scenario())


def test_a_worker_that_died_while_idle_is_replaced(path):
    async def scenario():
        workers = Workers()
        await workers.start()
        (worker,) = workers._idle
        worker.kill()
        await worker.wait()
        assert await workers.call("delete", "99:0:0:0", timeout=10) is None
        await workers.stop()

    run(scenario())


def test_a_stuck_worker_is_given_up_in_time(path):
    async def scenario():
        workers = Workers()
        await workers.start()
        (worker,) = workers._idle
        worker.send_signal(signal.SIGSTOP)
        with pytest.raises(errors.Timeout, match="SCSI delete"):
            await workers.call("delete", "99:0:0:0", timeout=0.1)
        assert workers._idle == []
        assert await worker.wait() == -signal.SIGKILL

    run(scenario())


def test_the_wait_for_a_turn_is_in_the_timeout(path):
    async def scenario():
        workers = Workers(limit=1)
        await workers.start()
        (worker,) = workers._idle
        worker.send_signal(signal.SIGSTOP)
        stuck = asyncio.ensure_future(workers.call("delete", "99:0:0:0", timeout=30))
        while workers._idle:
            await asyncio.sleep(0)
        with pytest.raises(errors.Timeout, match="had to wait for others"):
            await workers.call("delete", "99:0:0:0", timeout=0.1)
        worker.send_signal(signal.SIGCONT)
        assert await stuck is None
        await workers.stop()

    run(scenario())


def test_a_name_that_was_given_away_is_refused(tmp_path):
    refusal = answer('["probe", "null", "999:999"]')
    assert refusal["kind"] == "Refused" and "no longer" in refusal["error"]


def test_waiting_ends_with_a_signal_or_names_its_step():
    async def scenario():
        changes, seen = Changes(), []

        def condition():
            seen.append(1)
            return "there" if len(seen) > 1 else None

        waiter = asyncio.ensure_future(changes.until(condition, Deadline(10), "a link", poll=10))
        await asyncio.sleep(0)
        changes.signal()
        assert await waiter == "there"
        with pytest.raises(errors.Timeout, match="a link took too long"):
            await changes.until(lambda: None, Deadline(0.01), "a link")

    run(scenario())
