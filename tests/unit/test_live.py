"""What is drawn anew while it changes: on a terminal of its own, against a service on a bus."""

import asyncio
import contextlib
import fcntl
import os
import re
import signal
import struct
import termios
import time

import pytest

from kvmlun import errors
from kvmlun.cli import live, progress, status
from kvmlun.cli.looks import Looks
from kvmlun.client import Client
from kvmlun.traces import Waiting

from .buses import bus, serving
from .test_bus_service import Manager

_SECONDS = 5


@pytest.fixture(autouse=True)
def a_bus(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    with bus(monkeypatch):
        yield


class Screen:
    """A terminal, and all that was ever written to it."""

    def __init__(self, columns=100, lines=10):
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))
        os.set_blocking(self.master, False)
        self.stream = open(slave, "w", encoding="utf-8")
        self.text = ""

    async def shows(self, *parts):
        """Wait until it has shown all of these since the last time."""
        until = asyncio.get_running_loop().time() + _SECONDS
        while not all(part in self.text for part in parts):
            assert asyncio.get_running_loop().time() < until, (parts, self.text)
            with contextlib.suppress(BlockingIOError):
                self.text += os.read(self.master, 65536).decode()
            await asyncio.sleep(0.01)
        shown, self.text = self.text, ""
        return shown


def picture(status, _how):
    return "".join(f"LUN {lun['state']}\n" for lun in status["luns"]) + "".join(
        f"{each['step']}\n" for each in status["waiting"]
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_picture_is_drawn_at_each_change_and_ends_with_ctrl_c(number):
    async def play():
        manager, screen = Manager(), Screen()
        asked = []

        async def reservations():
            asked.append(1)
            return []

        manager.reservations = reservations
        async with serving(manager) as (service, _), Client() as client:
            showing = asyncio.ensure_future(live.show(client, picture, screen.stream))
            begin = await screen.shows("LUN idle")
            assert begin.startswith("\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H")
            manager.here = []
            service.refresh()
            await screen.shows("\x1b[HLUN absent\x1b[K")
            os.kill(os.getpid(), number)
            await asyncio.wait_for(showing, _SECONDS)
            await screen.shows("\x1b[?7h\x1b[?25h\x1b[?1049l")
        assert not asked, "targets are not asked at each change"

    asyncio.run(play())


def test_nothing_is_asked_while_nothing_changes(monkeypatch):
    monkeypatch.setattr(live, "_TICK_SECONDS", 0.05)

    async def play():
        manager, screen = Manager(), Screen()
        async with serving(manager) as (service, _), Client() as client:
            calls = []
            status = client.status
            client.status = lambda **how: calls.append(1) or status(**how)
            showing = asyncio.ensure_future(live.show(client, picture, screen.stream))
            await screen.shows("LUN idle")
            manager.traces.waiting = (Waiting("connect", "d", "login", 1.0),)
            service.refresh()
            for _ in range(2):
                await screen.shows("login")  # seconds pass
            showing.cancel()
            await asyncio.wait_for(showing, _SECONDS)
            assert len(calls) == 2

    asyncio.run(play())


def test_a_daemon_that_ends_is_said_and_one_that_comes_is_seen():
    async def play():
        screen = Screen()
        async with Client() as client:
            async with serving(Manager()) as (service, _):
                showing = asyncio.ensure_future(live.show(client, picture, screen.stream))
                await screen.shows("LUN idle")
                service._bus.disconnect()
                await screen.shows("kvmlund does not run")
            async with serving(Manager()):
                assert "does not run" not in await screen.shows("LUN idle")
            showing.cancel()
            await asyncio.wait_for(showing, _SECONDS)

    asyncio.run(play())


def test_a_daemon_that_does_not_answer_is_said_and_asked_again(monkeypatch):
    """No signal comes of that: it comes back, or hangs, without one."""
    monkeypatch.setattr(live, "_TICK_SECONDS", 0.05)

    async def play():
        manager, screen = Manager(), Screen()
        async with serving(manager) as (service, _), Client() as client:
            showing = asyncio.ensure_future(live.show(client, picture, screen.stream))
            await screen.shows("LUN idle")
            status, silent = client.status, [True]

            async def answer(**how):
                if silent:
                    raise errors.Unreachable("no answer")
                return await status(**how)

            client.status = answer
            manager.here = []
            service.refresh()
            await screen.shows("LUN idle", "no answer; this is as it was")
            silent.clear()
            assert "as it was" not in (await screen.shows("LUN absent")).partition("absent")[2]
            showing.cancel()
            await asyncio.wait_for(showing, _SECONDS)

    asyncio.run(play())


def test_in_a_pipe_only_new_pictures_follow_each_other(tmp_path):
    path, drawn = tmp_path / "out", []

    def counted(*what):
        drawn.append(1)
        return picture(*what)

    async def play(stream):
        manager = Manager()
        async with serving(manager) as (service, _), Client() as client:
            showing = asyncio.ensure_future(live.show(client, counted, stream))
            changes = ({}, {"problem": "not in the picture"}, {"here": []})
            for number, change in enumerate(changes, 1):
                vars(manager).update(change)
                service.refresh()
                until = asyncio.get_running_loop().time() + _SECONDS
                while len(drawn) < number:
                    assert asyncio.get_running_loop().time() < until
                    await asyncio.sleep(0.01)
            showing.cancel()
            await asyncio.wait_for(showing, _SECONDS)

    with open(path, "w") as stream:
        asyncio.run(play(stream))
    assert path.read_text() == "LUN idle\n\nLUN absent\n"


@pytest.mark.parametrize("drawing", [status.table, status.as_tree])
def test_a_picture_is_as_wide_as_the_terminal(drawing):
    async def play():
        manager, screen = Manager(), Screen(columns=80, lines=24)
        manager.domains.problem = "libvirt does not answer " * 9
        manager.traces.waiting = (Waiting("prepare", "vm1", "login to " + "x" * 40, 1.0),)
        async with serving(manager), Client() as client:
            showing = asyncio.ensure_future(live.show(client, drawing, screen.stream))
            lines = (await screen.shows("waiting for login", "\x1b[J")).split("\x1b[K\r\n")
            assert all(len(re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", line)) <= 80 for line in lines)
            # Each LUN is told on one line, with what the operator looks for.
            assert any("vm1-0" in line and "idle" in line for line in lines)
            showing.cancel()
            await asyncio.wait_for(showing, _SECONDS)

    asyncio.run(play())


def test_a_picture_that_is_too_high_is_cut():
    text = "".join(f"line {n}\n" for n in range(9))
    shown = live.frame(text, Looks(height=5))
    assert "line 2\x1b[K" in shown and "… 6 more lines" in shown and "line 3" not in shown
    assert shown.count("\n") == 4
    assert "more lines" not in live.frame(text, Looks(height=10))


def test_a_long_operation_shows_what_it_waits_for_and_leaves_no_trace():
    async def play():
        manager, screen = Manager(), Screen(columns=60)
        async with serving(manager) as (service, _), Client() as client:
            async with progress.shown(client, "connect", "data-0", screen.stream):
                others = Waiting("connect", "other", "nothing of ours", 1.0)
                mine = Waiting("connect", "data-0", "login to iqn.x at 10.0.0.1:3260", 1.0)
                manager.traces.waiting = (others, mine)
                service.refresh()
                shown = await screen.shows("waiting for login to iqn.x at 10.0.0.1:3260")
                assert "ours" not in shown
            await screen.shows("\r\x1b[K")

    asyncio.run(play())


def test_what_is_waited_for_is_shown_with_its_seconds():
    async def play():
        screen = Screen()
        async with progress.drawn(progress.Line(screen.stream)) as line:
            line.tell({"step": "hook, udev", "since": time.time() - 7})
            await screen.shows("waiting for hook, udev (7 s)")
            await screen.shows("waiting for hook, udev (8 s)")
            line.tell(None)
            assert "waiting" not in await screen.shows("\r\x1b[K")

    asyncio.run(play())


def test_what_has_no_steps_is_said_once_it_takes_long(monkeypatch):
    monkeypatch.setattr(progress, "SHOWN_SECONDS", 0.05)

    async def play():
        screen = Screen()
        async with progress.said("targets", screen.stream):
            await screen.shows("waiting for targets (0 s)")
        assert (await screen.shows("\r\x1b[K")).endswith("\r\x1b[K")
        async with progress.said("nothing", screen.stream):
            pass
        with pytest.raises(BlockingIOError):
            os.read(screen.master, 1)

    asyncio.run(play())


def test_who_lets_no_other_task_run_shows_it_as_well():
    screen = Screen(columns=30)
    with progress.written(screen.stream) as waits:
        waits("discovery at 10.0.0.1:3260 of the lab", 2.7)
    assert "…" in asyncio.run(screen.shows("waiting for", "(3 s)\r\x1b[K"))


def test_in_a_pipe_nothing_is_shown_of_that(tmp_path):
    async def play(stream):
        async with serving(Manager()), Client() as client:
            async with progress.shown(client, "connect", "data-0", stream):
                pass
        with progress.written(stream) as waits:
            waits("discovery", 2.0)

    with open(tmp_path / "out", "w") as stream:
        asyncio.run(play(stream))
    assert not (tmp_path / "out").read_text()
