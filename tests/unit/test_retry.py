"""One more try for domains whose storage did not answer."""

import asyncio

from kvmlun.lun import Portal
from kvmlun.retry import Retry

from .worlds import PORTAL, UUID

OTHER = UUID.replace("1", "2")


def run(retry, up, autostart=True):
    """Try once; portals in `up` answer. Return the domains that were started."""
    started = []

    async def answers(portal):
        return portal in up

    async def start(uuid):
        started.append(uuid)
        return autostart

    asyncio.run(retry.run(answers, start))
    return started


def test_only_what_has_its_storage_back_is_tried(tmp_path):
    retry = Retry(tmp_path)
    retry.put(UUID, "vm1", [PORTAL])
    retry.put(OTHER, "vm2", [Portal("10.77.2.1"), Portal("fd77::1", 860)])
    assert run(retry, up=()) == []
    assert run(retry, up={PORTAL}) == [UUID]
    assert run(retry, up={Portal("fd77::1", 860)}) == [OTHER]


def test_what_failed_again_is_not_tried_again_at_once(tmp_path):
    retry = Retry(tmp_path)
    retry.put(UUID, "vm1", [PORTAL])
    assert run(retry, up={PORTAL}) == [UUID]
    retry.put(UUID, "vm1", [PORTAL])
    assert run(retry, up={PORTAL}) == [] and retry.waiting


def test_what_waits_outlives_the_daemon_and_ends_with_a_start(tmp_path):
    Retry(tmp_path).put(UUID, "vm1", [PORTAL])
    retry = Retry(tmp_path)
    assert [domain.name for domain in retry.waiting] == ["vm1"]
    retry.drop(UUID)
    assert not retry.waiting and not Retry(tmp_path).waiting


def test_all_can_be_forgotten(tmp_path):
    retry = Retry(tmp_path)
    retry.put(UUID, "vm1", [PORTAL])
    retry.put(OTHER, "vm2", [PORTAL])
    retry.clear()
    assert not retry.waiting and not Retry(tmp_path).waiting


def test_one_that_can_not_be_forgotten_ends_nothing(tmp_path, caplog):
    retry = Retry(tmp_path)
    for uuid in (UUID, OTHER):
        retry.put(uuid, "vm", [PORTAL])
    stuck = tmp_path / f"{UUID}.json"
    stuck.unlink()
    stuck.mkdir()
    for _ in range(2):
        retry.clear()
    assert not retry.waiting and [path.name for path in tmp_path.iterdir()] == [stuck.name]
    assert len(caplog.messages) == 1 and str(stuck) in caplog.text


def test_a_domain_without_autostart_is_forgotten(tmp_path):
    retry = Retry(tmp_path)
    retry.put(UUID, "vm1", [PORTAL])
    run(retry, up={PORTAL}, autostart=False)
    assert not retry.waiting
