"""The socket that hooks ask on: what a call that is under way gets when the daemon is stopped."""

import asyncio
import json
import socket
import struct

import pytest

from kvmlun import hookproto, hookserver
from kvmlun.hookserver import HookServer
from kvmlun.leases import boottime
from kvmlun.tally import Tally

XML = b"<domain><name>vm1</name><uuid>3c1b0f5e-0000-4000-8000-000000000001</uuid></domain>"

HEADER = json.dumps({"v": 1, "op": "prepare", "subop": "begin", "extra": "-", "name": "vm1",
                     "boottime": boottime(), "deadline": 45.0}).encode()  # fmt: skip


@pytest.fixture(autouse=True)
def asked_by_root(monkeypatch):
    """Whoever runs this."""
    monkeypatch.setattr(hookserver, "_peer_uid", lambda writer: 0)


class SlowHooks:
    """Prepares when the test lets it."""

    def __init__(self):
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    def limit(self, operation):
        return 45.0

    async def prepare(self, domain, began, deadline):
        self.asked.set()
        await self.go_on.wait()


def framed(header):
    return struct.pack(">I", len(header)) + header


def request():
    return framed(HEADER) + XML


def bind(path):
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    return listening


async def ask(path):
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request())
    writer.write_eof()
    return await reader.read()


def test_a_stop_answers_calls_under_way_and_leaves_the_socket_to_the_next(tmp_path):
    path = tmp_path / "s"

    async def scenario():
        listening = bind(path)
        kept_by_systemd = listening.dup()
        hooks = SlowHooks()
        server = HookServer(hooks, Tally())
        await server.start(listening)
        first = asyncio.ensure_future(ask(path))
        await hooks.asked.wait()
        hooks.asked.clear()
        stopping = asyncio.ensure_future(server.stop())
        await asyncio.sleep(0)
        second = asyncio.ensure_future(ask(path))
        hooks.go_on.set()
        await stopping
        assert json.loads(await first)["ok"] is True
        assert path.exists() and not hooks.asked.is_set() and not second.done()
        # The next daemon gets the same socket, with who waits on it.
        await HookServer(hooks, Tally()).start(kept_by_systemd)
        assert json.loads(await second)["ok"] is True

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_call_that_takes_too_long_gets_no_answer_and_may_ask_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(hookserver, "_DRAIN_SECONDS", 0.05)

    async def scenario():
        hooks = SlowHooks()
        server = HookServer(hooks, Tally())
        await server.start(bind(tmp_path / "s"))
        call = asyncio.ensure_future(ask(tmp_path / "s"))
        await hooks.asked.wait()
        await server.stop()
        assert await call == b""

    asyncio.run(asyncio.wait_for(scenario(), 10))


def reply(data):
    async def scenario():
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return await HookServer(SlowHooks(), Tally())._reply(reader)

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 60000,
        b"\xff",
        *(
            HEADER.replace(b'"deadline": 45.0', b'"deadline": ' + value)
            for value in (b"NaN", b"Infinity", b"1" * 400, b"true", b"null")
        ),
    ],
)
def test_a_header_that_no_hook_writes_is_malformed(header):
    assert reply(framed(header) + XML)["line"] == "malformed hook call"


def test_the_question_of_kvmlun_doctor_comes_through_and_is_logged_as_no_refusal(caplog):
    question = {**json.loads(HEADER), "op": "restore", "name": hookproto.PROBE}
    assert reply(framed(json.dumps(question).encode()) + XML)["line"] == hookproto.REACHED
    assert not caplog.records


@pytest.mark.parametrize("length", [0, 3, 60000, 0xFFFFFFFF])
def test_a_length_that_is_not_that_of_the_header_is_malformed(length):
    assert reply(struct.pack(">I", length) + HEADER)["line"] == "malformed hook call"


def test_a_hundred_megabytes_of_xml_are_refused_without_reading_them(tmp_path):
    async def scenario():
        server = HookServer(SlowHooks(), Tally())
        await server.start(bind(tmp_path / "s"))
        _, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(framed(HEADER))
        sent = 0
        with pytest.raises(ConnectionError):
            while sent < 100 << 20:
                writer.write(bytes(1 << 20))
                sent += 1 << 20
                await writer.drain()
        writer.close()
        await server.stop()
        return sent

    assert asyncio.run(asyncio.wait_for(scenario(), 10)) < 20 << 20
