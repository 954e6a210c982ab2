"""How pytest shows the unit tests, and what several of them use."""

import pytest

from . import fenced


def pytest_make_parametrize_id(val: object) -> str | None:
    """Keep a value that nobody can read out of a test's name."""
    return "long" if isinstance(val, str | bytes) and len(val) > 200 else None


@pytest.fixture
def host(tmp_path, monkeypatch):
    """It fences a LUN with two paths."""
    return fenced.Host(tmp_path, monkeypatch)
