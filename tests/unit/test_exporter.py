"""Metrics follow the settings, and nothing that fails with them ends the daemon."""

import asyncio
import contextlib
import logging
import os
import threading
from types import SimpleNamespace

import pytest

from kvmlun import exporter
from kvmlun.config import Config, Settings
from kvmlun.drain import Drain
from kvmlun.exporter import Exporter
from kvmlun.leases import Leases
from kvmlun.metricsfile import MetricsFile
from kvmlun.tally import Tally

from . import worlds


class Manager:
    """As much of kvmlun.manager.Manager as metrics are made of."""

    domains, configuration = worlds.domains(), SimpleNamespace(problem="")
    fencing_problems, guard = (), SimpleNamespace(suspended=())

    def __init__(self, folder):
        self.config, self.tally = Config(Settings(), {}), Tally()
        self.drain = Drain(folder / "drained")
        self.looks, self.world = 0, self

    def set(self, **settings):
        self.config = Config(Settings(**settings), {})

    def view(self):
        self.looks += 1
        return worlds.view()

    def lacking_paths(self):
        return []


@pytest.fixture
def manager(tmp_path):
    return Manager(tmp_path)


@contextlib.asynccontextmanager
async def running(manager, folder):
    made = Exporter(manager, Leases(folder / "leases"))
    task = asyncio.ensure_future(made.run())
    yield made
    task.cancel()
    await asyncio.wait([task])


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


def play(scenario):
    asyncio.run(asyncio.wait_for(scenario, 10))


def test_it_writes_where_the_settings_say_and_leaves_nothing_behind(tmp_path, manager):
    one, two = tmp_path / "one/kvmlun.prom", tmp_path / "two/kvmlun.prom"
    for file in (one, two):
        file.parent.mkdir()

    async def scenario():
        async with running(manager, tmp_path) as exporting:
            for folder, there, gone in ((one, one, two), (two, two, one)):
                manager.set(metrics_folder=str(folder.parent))
                exporting.refresh()
                await until(there.exists)
                assert "kvmlun_drained 0" in there.read_text() and not gone.exists()
        assert not two.exists()

    play(scenario())


def test_an_end_in_the_middle_of_a_write_leaves_nothing_behind(tmp_path, manager, monkeypatch):
    """Nobody waits for the thread that writes."""
    (folder := tmp_path / "folder").mkdir()
    began, ended = threading.Event(), threading.Event()

    def wait(*_):
        began.set()
        assert ended.wait(10)

    async def scenario():
        async with running(manager, tmp_path):
            await until(began.is_set)
        ended.set()

    monkeypatch.setattr(os, "fchmod", wait)
    manager.set(metrics_folder=str(folder))
    play(scenario())
    assert os.listdir(folder) == []


def test_it_serves_where_the_settings_say(tmp_path, manager):
    one, two = tmp_path / "one", tmp_path / "two"

    async def scenario():
        async with running(manager, tmp_path) as exporting:
            for where, gone in ((one, two), (two, one)):
                manager.set(metrics_listen=str(where))
                exporting.refresh()
                await until(where.exists)
                assert not gone.exists()
                reader, writer = await asyncio.open_unix_connection(where)
                writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
                assert b"kvmlun_libvirt_up 0" in await reader.read()
        assert not two.exists()

    play(scenario())


def test_who_asks_without_end_has_the_host_looked_at_now_and_then(tmp_path, manager):
    async def scenario():
        made = Exporter(manager, Leases(tmp_path / "leases"))
        for _ in range(50):
            made._exposition("")

    play(scenario())
    assert manager.looks == 1


def test_a_problem_is_told_once_and_tried_again(tmp_path, manager, monkeypatch, caplog):
    monkeypatch.setattr(exporter, "_WRITE_SECONDS", 0.01)
    tries, folder = [], tmp_path / "later"
    write = MetricsFile.write
    monkeypatch.setattr(MetricsFile, "write", lambda *args: tries.append(args) or write(*args))
    manager.set(metrics_folder=str(folder), metrics_listen=str(folder / "s"))

    async def scenario():
        async with running(manager, tmp_path):
            await until(lambda: len(tries) > 3)
            folder.mkdir()
            await until((folder / "kvmlun.prom").exists)
            await until((folder / "s").exists)

    with caplog.at_level(logging.WARNING):
        play(scenario())
    assert sorted(record.getMessage().partition(" (")[0] for record in caplog.records) == [
        f"cannot write {folder}/kvmlun.prom",
        f"no metrics at {folder}/s",
    ]


def test_a_bug_in_it_ends_nothing(tmp_path, manager, monkeypatch, caplog):
    monkeypatch.setattr(exporter, "_WRITE_SECONDS", 0.01)
    manager.lacking_paths = lambda: 1 / 0
    manager.set(metrics_folder=str(tmp_path))

    async def scenario():
        async with running(manager, tmp_path):
            await until(lambda: len(caplog.records) > 1)
            del manager.lacking_paths
            await until((tmp_path / "kvmlun.prom").exists)

    play(scenario())
    assert "ZeroDivisionError" in caplog.text
