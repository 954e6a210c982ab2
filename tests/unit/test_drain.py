"""A host that is drained: for how long, and what is refused meanwhile."""

import asyncio
import os

import pytest

from kvmlun import errors
from kvmlun.config import Config, Settings
from kvmlun.connections import Connections
from kvmlun.drain import Drain
from kvmlun.leases import Leases
from kvmlun.tally import Tally

from .worlds import LUN


@pytest.fixture
def drain(tmp_path):
    return Drain(tmp_path / "kvmlun/drained")


def test_it_outlives_the_daemon_and_ends_when_the_operator_says_so(tmp_path, drain):
    assert drain.since is None
    drain.begin()
    again = Drain(tmp_path / "kvmlun/drained")
    assert again.since == drain.since is not None
    again.end()
    assert drain.since is None


def test_it_lasts_since_it_was_asked_for_first(tmp_path, drain):
    drain.begin()
    os.utime(tmp_path / "kvmlun/drained", (1e9, 1e9))
    drain.begin()
    assert drain.since == 1e9


def test_the_refusal_says_since_when_and_how_to_end_it(tmp_path, drain):
    drain.refuse()
    drain.begin()
    os.utime(tmp_path / "kvmlun/drained", (1e9, 1e9))
    with pytest.raises(errors.Refused) as refused:
        drain.refuse()
    assert "2001-09-0" in str(refused.value)
    assert str(refused.value).endswith("to end that: kvmlun host resume")


def test_what_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.Storage) as failed:
        Drain(tmp_path / "file/kvmlun").begin()
    assert "nothing was done" in str(failed.value)


class Attacher:
    async def attach(self, _request, _deadline):
        return LUN.wwid


def test_a_connection_that_is_there_can_be_renewed_and_no_other_made(tmp_path, drain):
    config, leases = Config(Settings(), {"vm1": LUN}), Leases(tmp_path / "leases")
    connections = Connections(lambda: config, leases, Attacher(), drain, Tally(), lambda: None)
    asyncio.run(connections.connect("vm1", "a", 60))
    drain.begin()
    asyncio.run(connections.connect("vm1", "a", 60))
    with pytest.raises(errors.Drained):
        asyncio.run(connections.connect("vm1", "b", 60))
    assert [lease.name for lease in leases.all] == ["connected by a"]
    drain.end()
    asyncio.run(connections.connect("vm1", "b", 60))
