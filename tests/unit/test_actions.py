"""Having done what is due, and being told what is left."""

import asyncio
import contextlib
import time

import pytest

from kvmlun import actions, errors, events
from kvmlun.actions import Actions, Left
from kvmlun.reconcile import DropMarker, EndSession, ForgetEntry, Plan

from .worlds import TARGET, entry, session

GRACE = 10.0
END, FORGET, DROP = EndSession(session(1)), ForgetEntry(entry()), DropMarker("ip-1-lun-0")


class Loop:
    """The manager's loop, with what it would decide: `due` and `idle` for some seconds."""

    def __init__(self, due=(), idle=None, failures=None):
        self.due, self.idle = list(due), idle or {}
        self.failures = failures or {}
        self.after = {}  # what becomes due by what was done
        self.done, self.said_for = [], []
        self.blind = ""
        self.wake = asyncio.Event()
        self.actions = Actions(
            self.act, self.wake.set, lambda: self.blind, lambda target: target and "vm1"
        )

    async def act(self, action):
        if problem := self.failures.get(action):
            raise problem
        self.done.append(action)
        self.said_for.append(events.current().get("KVMLUN_DOMAIN"))
        self.due.remove(action)
        self.due += self.after.get(action, [])

    async def run(self):
        while True:
            await self.wake.wait()
            self.wake.clear()
            with self.actions.look():
                await asyncio.sleep(0)
                if not self.blind:
                    now = time.monotonic()
                    since = {action: now - seconds for action, seconds in self.idle.items()}
                    self.actions.start(Plan(tuple(self.due), since), now, GRACE)


def asked(loop_of):
    """Return the loop and what is left after one call, or its error."""

    async def ask():
        loop = loop_of()
        running = asyncio.ensure_future(loop.run())
        try:
            return loop, await loop.actions.all_due()
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    return asyncio.run(ask())


def test_what_becomes_due_by_what_was_done_is_done_as_well():
    def made():
        loop = Loop([END])
        loop.after = {END: [FORGET, DROP]}
        return loop

    loop, left = asked(made)
    assert (loop.done, left) == ([END, FORGET, DROP], [])
    assert loop.said_for == ["vm1", "vm1", None], "who needed their target last"


def test_what_could_not_be_done_is_told_with_its_reason_and_logged_once(caplog):
    caplog.set_level("INFO")
    problem = errors.Refused("/dev/sda is open in qemu")
    loop, left = asked(lambda: Loop([END, DROP], failures={END: problem}))
    assert loop.done == [DROP]
    assert left == [Left("end-session", TARGET, "", 0.0, "/dev/sda is open in qemu")]
    assert caplog.messages == ["postponed: /dev/sda is open in qemu"]
    assert caplog.records[0].KVMLUN_DOMAIN == "vm1"


def test_what_is_not_due_yet_is_told_with_its_time():
    loop, (left,) = asked(lambda: Loop(idle={END: 4.0}))
    assert loop.done == [] and 5.5 < left.seconds <= 6.0
    assert (left.action, left.target, left.problem) == ("end-session", TARGET, "")


def test_nothing_can_be_decided_while_libvirt_does_not_answer():
    def made():
        loop = Loop([END])
        loop.blind = "libvirt does not answer"
        return loop

    with pytest.raises(errors.Storage, match="libvirt does not answer; nothing is logged out"):
        asked(made)


def test_what_takes_long_is_left_and_a_look_that_takes_long_is_an_error(monkeypatch):
    monkeypatch.setattr(actions, "_SECONDS", 0.05)

    class Slow(Loop):
        async def act(self, action):
            await asyncio.Event().wait()

    class Stuck(Loop):
        async def run(self):
            await asyncio.Event().wait()

    _, (left,) = asked(lambda: Slow([END]))
    assert (left.action, left.seconds) == ("end-session", 0.0)
    with pytest.raises(errors.Timeout, match="a look at everything"):
        asked(lambda: Stuck([END]))


def test_an_error_of_ours_does_not_end_the_loop(caplog):
    _, (left,) = asked(lambda: Loop([END], failures={END: RuntimeError("bug")}))
    assert "internal error" in left.problem and "bug" in caplog.text
