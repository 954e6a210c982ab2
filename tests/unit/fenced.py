"""A host with its keys on a LUN with two paths, before a target in memory."""

import asyncio

from kvmlun import fence, withdraw
from kvmlun.keys import Keys
from kvmlun.onewriter import OneWriter
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


def at_once(monkeypatch):
    """Nobody waits for another host."""
    monkeypatch.setattr(withdraw, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr(fence, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr(fence, "_LOSER_SECONDS", 0.0)


def one_writer(host_id, workers, keys, domains, uses=lambda _: True):
    """What a host has without a manager: nobody else stops its domain, or is told of changes."""
    made = OneWriter(
        workers, None, keys, None, None, domains, uses, lambda _: True, lambda _: True,
        lambda: 0.0, lambda _: None, lambda: None,
    )  # fmt: skip
    made.reach._host_id = lambda: host_id
    return made


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
        writer = one_writer(1, Paths(self.target), self.keys, self.guest)
        self.fence, self.hold, self.withdrawal = writer.fence, writer.hold, writer.withdrawal
        self.there = 2
        monkeypatch.setattr("kvmlun.sysfs.sessions", self._sessions)
        monkeypatch.setattr("kvmlun.sysfs.initiator", lambda sid: HERE if sid else "")
        at_once(monkeypatch)

    def _sessions(self):
        return tuple(worlds.session(n, disk) for n, disk in enumerate(PATHS[: self.there], 1))

    def start(self):
        asyncio.run(self.fence.acquire(REQUEST, WWID, "vm1", Deadline(60)))
        return self.record

    def look(self):
        asyncio.run(self.hold.hold(VM, REQUEST, WWID))
        return self.record

    def stop(self):
        asyncio.run(self.withdrawal.give_up(self.record, lambda _: False, 0.0))

    @property
    def record(self):
        return self.keys.get(str(WWID))
