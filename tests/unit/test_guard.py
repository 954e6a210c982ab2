"""When a running domain's disks are proven again, and what comes of the proofs."""

import asyncio
import dataclasses
import json

import pytest

from kvmlun import errors, guard
from kvmlun.attach import opened
from kvmlun.guard import Guard, judge
from kvmlun.lun import LunAddress
from kvmlun.request import Request
from kvmlun.rounds import Watched

from . import worlds
from .worlds import LUN, UUID, WWID

STALE = errors.Stale("vm1 is another one")
SILENT = errors.Timeout("SCSI probe did not finish")
A, B = worlds.disk("sda"), worlds.disk("sdb")
REQUEST = Request(LUN, WWID.link, False, False, UUID)
VM = Watched(UUID, "vm1", (REQUEST,))


@pytest.mark.parametrize(
    "told, lost, right",
    [
        ([None], False, True),
        ([STALE], True, False),
        ([SILENT], False, False),
        ([None, None], False, True),
        ([None, STALE], True, False),
        ([SILENT, STALE], True, False),
        ([None, SILENT], False, False),
        ([], False, False),
    ],
)
def test_a_verdict_on_the_paths_of_a_lun(told, lost, right):
    verdict = judge(list(zip((A, B), told, strict=False)))
    assert (verdict.is_lost, verdict.is_right) == (lost, right)


def test_a_right_disk_beside_a_wrong_one_helps_in_a_map_only():
    paths = [
        (dataclasses.replace(disk, map="dm-0"), told) for disk, told in ((A, None), (B, STALE))
    ]
    assert not judge(paths).is_lost
    assert judge([(A, None), (B, STALE)]).is_lost


def test_what_a_guest_has_open_whatever_the_catalog_says_by_then():
    elsewhere = dataclasses.replace(LUN, address=LunAddress(LUN.address.target, 7))
    request = Request(elsewhere, WWID.link, False, False, UUID)
    other = worlds.disk("sdc", lun=7, wwid=worlds.OTHER_WWID)
    sessions = [worlds.session(1, A, other)]
    assert [disk for _, disk in opened(request, "sda", sessions)] == [A]
    assert [disk for _, disk in opened(request, "leads nowhere", sessions)] == [other]


class Domains:
    def __init__(self, running=True):
        self.running = running
        self.calls = []

    async def suspend(self, uuid):
        self.calls.append("suspend")
        return self.running

    async def resume(self, uuid):
        self.calls.append("resume")
        return self.running


class Workers:
    """Answers the proof with the WWIDs that a test sets."""

    def __init__(self, wwid):
        self.wwid = wwid
        self.calls = []

    async def probe(self, *_):
        return {"wwids": [str(self.wwid)]}

    async def call(self, name, *_, timeout):
        self.calls.append(name)


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(guard.sysfs, "sessions", lambda: (worlds.session(1, A),))
    domains, workers = Domains(), Workers(WWID)
    return (
        Guard(workers, None, domains, lambda _: True, lambda: None, tmp_path),
        domains,
        workers,
        tmp_path,
    )


def look(made, *watched, period=0.0):
    async def until_done():
        made.look(watched or [VM], period)
        while made._rounds.busy:
            await asyncio.sleep(0)

    asyncio.run(until_done())


def test_a_domain_waits_for_its_lun(world):
    made, domains, workers, folder = world
    look(made)
    assert not made.exchanged and not made.is_uneasy
    workers.wwid = worlds.OTHER_WWID
    look(made)
    assert made.is_uneasy
    assert made.exchanged == {"sda"} and domains.calls == ["suspend"]
    assert [s.name for s in made.suspended] == ["vm1"]
    workers.wwid = WWID
    restarted = Guard(workers, None, domains, lambda _: True, lambda: None, folder)
    look(restarted)
    assert domains.calls == ["suspend", "resume"] and workers.calls == ["rescan", "change"]
    assert not restarted.suspended and not list(folder.iterdir())


def test_a_full_run_keeps_nobody_from_being_suspended(world, monkeypatch):
    made, domains, workers, _ = world
    monkeypatch.setattr(guard.statefile, "write", full)
    workers.wwid = worlds.OTHER_WWID
    look(made)
    assert domains.calls == ["suspend"] and made.suspended


def full(*_):
    raise errors.Storage("no space")


def test_what_somebody_paused_stays_paused(world):
    made, domains, workers, _ = world
    workers.wwid, domains.running = worlds.OTHER_WWID, False
    look(made)
    workers.wwid = WWID
    look(made)
    assert "resume" not in domains.calls


def test_a_domain_that_is_gone_is_forgotten(world):
    made, _, workers, folder = world
    workers.wwid = worlds.OTHER_WWID
    look(made)
    assert json.loads((folder / f"{UUID}.json").read_text())["name"] == "vm1"
    look(made, Watched("another", "vm2", ()))
    assert not made.suspended and not made.exchanged


def test_a_recovered_session_is_proven_before_its_time(world):
    made, *_ = world
    look(made, period=1000.0)
    assert not made._rounds.due(VM, 1000.0)
    made.doubt("another target")
    assert not made._rounds.due(VM, 1000.0)
    made.doubt(LUN.address.target)
    assert made._rounds.due(VM, 1000.0)
