"""Who may call what changes something: root, and whom polkit grants it."""

import asyncio
import os

import pytest

from kvmlun import names
from kvmlun.bus import access

from .buses import ALL, Manager, Polkit, bus, serving

DENIED = "org.freedesktop.DBus.Error.AccessDenied"
RENEW = "Renew", "ssu", "vm1-0", "agent", 5


@pytest.fixture(autouse=True)
def a_bus(monkeypatch):
    with bus(monkeypatch):
        yield


@pytest.fixture
def not_root(monkeypatch):
    monkeypatch.setattr(access, "_ROOT", None)


async def answers(manager, polkit, *calls):
    """Return the caller's name and the answer to each call."""
    async with serving(manager, polkit) as (_, asker):
        return asker.name, [await asker.call(names.MANAGER, *call) for call in calls]


def test_what_polkit_does_not_grant_is_not_done(not_root):
    manager, polkit = Manager(), Polkit(access.CONNECT)
    name, (renewed, (error, text), looked) = asyncio.run(
        answers(manager, polkit, RENEW, ("RemoveVolume", "s", "vm1-0"), ("ListVolumes",))
    )
    assert renewed is None and manager.renewed == ("vm1-0", "agent", 5)
    assert error == DENIED and access.MANAGE in text and "administrator" in text
    assert [volume["name"] for volume in looked] == ["vm1-0"]
    assert polkit.asked == [(name, access.CONNECT), (name, access.MANAGE)]


def test_root_is_not_asked_about(monkeypatch):
    monkeypatch.setattr(access, "_ROOT", os.getuid())
    polkit = Polkit()
    _, (renewed,) = asyncio.run(answers(Manager(), polkit, RENEW))
    assert renewed is None and polkit.asked == []


def test_without_polkit_it_is_for_root_alone(monkeypatch, not_root):
    monkeypatch.setattr(access, "_POLKIT", "org.freedesktop.NoPolkit1")
    manager = Manager()
    _, ((error, text),) = asyncio.run(answers(manager, Polkit(*ALL), RENEW))
    assert error == DENIED and text.endswith("root may") and not hasattr(manager, "renewed")
