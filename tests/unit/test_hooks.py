"""What the hooks of a domain ask for, while the host is drained."""

import asyncio
import dataclasses
from types import SimpleNamespace

import pytest

from kvmlun import errors
from kvmlun.config import Settings
from kvmlun.domxml import Disk as DomainDisk
from kvmlun.drain import Drain
from kvmlun.hooks import Hooks
from kvmlun.leases import Leases, boottime
from kvmlun.lun import Portal
from kvmlun.retry import Retry
from kvmlun.traces import Traces
from kvmlun.wait import Deadline

from . import worlds
from .worlds import BY_PATH, LUN, UUID

PLAIN = worlds.domain()
DISK = DomainDisk("vda", (BY_PATH,), read_only=False, shareable=False, cache="none")
OURS = dataclasses.replace(PLAIN, disks=(DISK,))


class World:
    """Hooks on a host whose storage has what is asked for."""

    def __init__(self, folder):
        self.drain, self.leases = Drain(folder / "drained"), Leases(folder / "leases")
        self.retry, self.announced = Retry(folder / "unstarted"), []
        handover = SimpleNamespace(
            prepare=self.done,
            is_announced=lambda *_: False,
            ended=lambda *_: None,
            announce=lambda domain, _: self.announced.append(domain.name),
        )
        sources = SimpleNamespace(luns=lambda d: [(disk, BY_PATH, LUN) for disk in d.disks])
        attacher = SimpleNamespace(attach=self.done)
        traces = Traces(lambda: None, folder / "steps")
        self.hooks = Hooks(
            Settings, lambda: None, sources, self.leases, attacher, handover, self.retry,
            self.drain, traces, worlds.domains(), lambda *_: None, lambda: None,
        )  # fmt: skip

    async def done(self, *_):
        return LUN.wwid

    def prepare(self, domain):
        asyncio.run(self.hooks.prepare(domain, boottime(), Deadline(10)))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def every_way_in(world):
    return (
        lambda: world.prepare(OURS),
        lambda: world.hooks.check_incoming(OURS),
        lambda: world.hooks.check_restored(OURS),
        lambda: world.hooks.new_requests(OURS),
    )


def test_a_drained_host_takes_no_lun(world):
    world.drain.begin()
    for way in every_way_in(world):
        with pytest.raises(errors.Drained):
            way()
    assert not world.leases.all and not world.announced


def test_one_that_is_resumed_takes_them(world):
    world.drain.begin()
    world.drain.end()
    for way in every_way_in(world):
        way()
    assert world.leases.get(UUID) and world.announced == ["vm1"]


def test_a_domain_without_a_lun_is_none_of_its_business(world):
    world.drain.begin()
    world.prepare(PLAIN)
    world.hooks.check_incoming(PLAIN)
    world.hooks.check_restored(PLAIN)


def test_one_that_cannot_arrive_is_not_started_here_later(world):
    """It runs elsewhere, whatever has failed before."""
    world.retry.put(UUID, "vm1", [Portal("10.77.1.1")])
    world.drain.begin()
    with pytest.raises(errors.Drained):
        world.hooks.check_incoming(OURS)
    assert not world.retry.waiting
