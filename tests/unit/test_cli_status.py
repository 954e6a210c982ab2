"""kvmlun status, against a service on a bus."""

import asyncio
import json

import pytest

from kvmlun import cli
from kvmlun.client import Client

from .buses import Manager, bus, serving


@pytest.fixture(autouse=True)
def a_bus(monkeypatch):
    with bus(monkeypatch):
        yield


def shown(manager, *options):
    given = cli.parser().parse_args(["status", *options])

    async def play():
        async with serving(manager), Client() as client:
            return await given.run(client, given)

    return asyncio.run(play())


def test_what_targets_do_not_tell_is_said_and_the_rest_shown(capsys):
    told = json.loads(shown(Manager(), "--json"))
    assert told["luns"] and told["reservations_problem"].startswith("internal error")
    text = f"kvmlun: who holds the LUNs is not known: {told['reservations_problem']}\n"
    assert capsys.readouterr().err == text


def test_where_targets_answer_nothing_is_said(capsys):
    async def nobody():
        return []

    manager = Manager()
    manager.reservations = nobody
    assert "vm1-0" in shown(manager)
    assert capsys.readouterr().err == ""
