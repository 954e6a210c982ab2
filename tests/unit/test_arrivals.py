"""How long the announcement of a migration counts."""

import pytest

from kvmlun import arrivals
from kvmlun.arrivals import SECONDS, Arrivals

from .worlds import UUID


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(arrivals, "boottime", lambda: now[0])
    return now


def test_a_migration_is_announced_for_a_while(tmp_path, clock):
    made = Arrivals(tmp_path)
    made.announce(UUID, fenced=True)
    assert made.is_announced(UUID, 1000.0 + SECONDS - 1)
    assert not made.is_announced(UUID, 1000.0 + SECONDS)
    assert Arrivals(tmp_path).is_announced(UUID, 1000.0), "over a restart of kvmlund, too"
    clock[0] += SECONDS
    assert made.expired() == (UUID,)


def test_the_hook_sees_only_what_is_fenced(tmp_path):
    made = Arrivals(tmp_path)
    made.announce(UUID, fenced=False)
    assert not list(tmp_path.iterdir())
    made.announce(UUID, fenced=True)
    assert [file.name for file in tmp_path.iterdir()] == [UUID]
    made.end(UUID)
    assert not list(tmp_path.iterdir()) and not made.is_announced(UUID, 0.0)
