"""Two hosts, one LUN, any order of events: the target never lets two guests write.

The order of all commands is drawn, and the moments at which a daemon or a host dies. What real
targets do is shown in the lab.
"""

import asyncio
import contextlib
import itertools
import os
import shutil
import time
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kvmlun import errors
from kvmlun.keys import LOST, Keys
from kvmlun.request import Request
from kvmlun.rounds import Watched
from kvmlun.wait import Deadline

from . import worlds
from .fenced import at_once, one_writer
from .targets import Target
from .worlds import LUN, UUID, WWID


class Host:
    """A host whose daemon can die at each command, before and after the target executes it."""

    def __init__(self, number, world, folder):
        self.number, self.world, self.folder = number, world, folder
        self.initiator, self.logins = f"iqn.2026-11.com.example:host{number}", 0
        self.lives = self.boots = 0  # how often its daemon, and it, have ended
        self.here = False  # libvirt has the domain on this host
        self.leased = False  # a hook has asked for it
        self.taken = False  # over, and not started yet
        self.told = None  # the key of the host that the domain came from
        self.seen = 0  # the version of the data that its guest knows
        disk = worlds.disk(f"sd{number}", hctl=f"{number}:0:0:0")
        self.session = worlds.session(number, disk)
        self.request = Request(LUN, f"/nowhere/sd{number}", False, False, UUID, fenced=True)
        self.tasks = set()
        self.migrations = set()  # from here; they are libvirt's, and outlive the daemon
        self.boot()

    @property
    def key(self):
        """What the domain's metadata tell: of the host that it came from until this one holds."""
        record = self.kept.get(str(WWID))
        return record.key if record and record.phase in ("holder", LOST) else self.told

    @property
    def port(self):
        return f"{self.initiator},i,0x{self.logins:012x}"

    def boot(self):
        self.kept = Keys(self.folder)
        writer = one_writer(self.number, self, self.kept, self, lambda _: self.here)
        self.fence, self.hold, self.withdrawal = writer.fence, writer.hold, writer.withdrawal
        self.stops = writer.standstill.stops

    def die(self):
        """The daemon only."""
        self.lives += 1
        for task in self.tasks:
            task.cancel()
        self.boot()

    def lose_power(self):
        self.leave_window()
        self.here = self.taken = False
        self.world.running.discard(self)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.logins += 1
        self.boots += 1
        self.die()

    def leave_window(self):
        """An end in the window of a migration: libvirt lets the source go on, without what this
        guest has written."""
        if self in self.world.running and any(r.phase == "arriving" for r in self.kept.all):
            for host in self.world.hosts:
                host.here = host.here and host in self.world.running

    async def call(self, name, *args, timeout):
        lives = self.lives
        await self.world.turn()
        self.check_alive(lives)
        answer = getattr(self.world.target, name)(self.port, *args[3:])
        self.world.check(f"host {self.number}: {name}")
        await self.world.turn()
        self.check_alive(lives)
        return answer

    def check_alive(self, lives):
        """A hook that waits for a daemon that has died fails."""
        if self.lives != lives:
            raise errors.Storage(f"the daemon of host {self.number} is dead")

    async def runs_here(self, _uuid):
        await self.world.turn()
        return self.here

    async def is_paused(self, _uuid):
        return self not in self.world.running

    async def suspend(self, _uuid):
        self.world.running.discard(self)
        return True

    async def resume(self, _uuid):
        self.world.run(self, self.seen)
        return True

    def begin(self, call, tasks=None):
        tasks = self.tasks if tasks is None else tasks
        task = asyncio.ensure_future(self._quietly(call))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _quietly(self, call):
        with contextlib.suppress(errors.Error):
            await call

    # what libvirt does

    async def start(self):
        self.leased = True
        try:
            await self.fence.acquire(self.request, WWID, "vm1", Deadline(60))
            self.here, self.taken, self.told = True, False, None
            self.world.run(self, self.world.version)
        finally:
            self.leased = False

    async def take_over(self):
        self.leased = True
        try:
            found = await self.fence.others(self.request, WWID, Deadline(60))
            self.taken = True
            await self.fence.take_over(self.request, WWID, "vm1", found.keys, Deadline(60))
        finally:
            self.leased = False

    async def migrate_to(self, other, finish):
        """libvirt goes on whatever daemons do, once the hooks of the destination are over.

        Without `finish` its last answer is lost, so that the source is to go on, too.
        """
        other.leased, boots = True, other.boots
        try:
            source = self.key
            await other.fence.expect(other.request, WWID, source, Deadline(60))
            await other.fence.register(other.request, WWID, "vm1", source, Deadline(60))
            await self.world.turn()
            if self in self.world.running and other.boots == boots:
                self.world.running.discard(self)
                other.here, other.told = True, source
                self.world.run(other, self.seen)
                await self.world.turn()
                if finish:
                    self.here = False
        finally:
            other.leased = False

    def destroy(self):
        self.leave_window()
        self.here = False
        self.world.running.discard(self)

    def needs(self, _record):
        return self.here or self.leased or self.taken

    async def look(self):
        """What the loop does: those that run here hold their LUN, the others give it up."""
        for record in self.kept.all:
            await self.withdrawal.give_up(record, self.needs, 0.0)
        if self in self.world.running:
            await self.hold.hold(Watched(UUID, "vm1", (self.request,)), self.request, WWID)


class World:
    def __init__(self, folder):
        self.target, self.running, self.waiting, self.said = Target(), set(), [], []
        self.violation = []
        self.version = 0  # of the data
        self.hosts = [Host(number, self, folder / str(number)) for number in (1, 2)]

    async def turn(self):
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        await future

    def run(self, host, seen):
        """Let its guest run, whose memory is of that version of the data."""
        host.seen = seen
        self.running.add(host)
        self.check(f"host {host.number} runs the guest")

    def check(self, what):
        self.said.append(what)
        writers = [host for host in self.running if self.target.lets_write(host.port)]
        if any(host.seen != self.version for host in writers) or len(writers) > 1:
            self.violation = self.violation or self.said[-40:]
        for host in writers:
            self.version += 1
            host.seen = self.version

    def begin(self, event, host):
        self.said.append(f"{event} {host.number}")
        other = next(each for each in self.hosts if each is not host)
        if event == "die":
            host.die()
        elif event == "power":
            host.lose_power()
        elif event == "destroy":
            # A guest that was shut out has to be seen to before: docs/fencing.md.
            if not (other.here and host in self.running):
                host.destroy()
        elif event == "look":
            if not host.tasks:
                host.begin(host.look())
        elif not (host.tasks or host.migrations or other.migrations):
            self.ask(event, host, other)

    def ask(self, event, host, other):
        """What libvirt asks of a host that is at nothing else."""
        if event in ("start", "take-over"):
            if not (host.here or host.leased):
                host.begin(host.start() if event == "start" else host.take_over())
        elif event in ("migrate", "lost-finish"):
            if host in self.running and not (other.here or other.leased):
                host.begin(host.migrate_to(other, event == "migrate"), host.migrations)
        elif host.here and host not in self.running and not other.tasks:
            # A source whose migration has failed, for all that it knows, is resumed.
            settled = all(record.phase in ("holder", LOST) for record in other.kept.all)
            if settled and not host.stops(UUID):
                self.run(host, host.seen)


# Many more find more: KVMLUN_EXAMPLES=20000 takes some five minutes.
EXAMPLES = int(os.environ.get("KVMLUN_EXAMPLES", "150"))
EVENTS = "start look look migrate migrate start look lost-finish take-over resume destroy die power"
STEPS = st.lists(st.integers(0, 1 << 12), min_size=60, max_size=250)


async def play(world, steps):
    """While a command waits one of them is let go on, or now and then something else happens."""
    for number in steps:
        choice, host = divmod(number >> 3, 2)
        if world.waiting and number & 7:
            future = world.waiting.pop(choice % len(world.waiting))
            if not future.done():
                future.set_result(None)
        else:
            names = EVENTS.split()
            world.begin(names[choice % len(names)], world.hosts[host])
        for _ in range(6):
            await asyncio.sleep(0)
        assert not world.violation
    for host in world.hosts:
        for task in (*host.tasks, *host.migrations):
            task.cancel()


@pytest.fixture
def quick(monkeypatch):
    at_once(monkeypatch)
    monkeypatch.setattr("os.fsync", lambda _: None)
    for module in ("fence", "hold", "standstill", "withdraw"):
        monkeypatch.setattr(f"kvmlun.{module}.log", mock.Mock())
    # No two uses of the LUN begin in one second.
    clock = mock.Mock(wraps=time, time=itertools.count(1_800_000_000).__next__)
    monkeypatch.setattr("kvmlun.reservation.time", clock)


@settings(
    max_examples=EXAMPLES,
    phases=[Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
@given(steps=STEPS)
def test_two_guests_never_write(tmp_path_factory, quick, steps):
    world = World(tmp_path_factory.mktemp("world"))
    sessions = tuple(host.session for host in world.hosts)
    names = {host.number: host.initiator for host in world.hosts}
    with (
        mock.patch("kvmlun.sysfs.sessions", lambda: sessions),
        mock.patch("kvmlun.sysfs.initiator", names.get),
    ):
        asyncio.run(play(world, steps))
