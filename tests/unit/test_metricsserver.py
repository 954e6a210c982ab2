"""Metrics by HTTP: what a scrape gets, and whoever sends something else."""

import asyncio
import os
import socket
import stat

import pytest

from kvmlun import errors, metricsserver
from kvmlun.metricsserver import MetricsServer

GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def exposition(accept):
    return "text/plain", f"accepts {accept}\n".encode()


def ask(*requests, where, exposition=exposition):
    """Return the answer to each request, all under way at once; b"" for none."""

    async def one(request):
        reader, writer = await asyncio.open_unix_connection(where)
        writer.write(request)
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""

    async def scenario():
        server = MetricsServer(exposition)
        await server.listen(where)
        answers = await asyncio.gather(*map(one, requests))
        server.close()
        return answers

    return asyncio.run(asyncio.wait_for(scenario(), 10))


@pytest.fixture
def where(tmp_path):
    return str(tmp_path / "s")


def test_a_scrape_gets_what_it_accepts(where):
    accept = b"GET /metrics?x=1 HTTP/1.1\r\nhost: x\r\naccept: application/x\r\n\r\n"
    (answer,) = ask(accept, where=where)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b"accepts application/x\n"
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 200 OK",
        b"Content-Type: text/plain",
        b"Content-Length: 22",
        b"Connection: close",
    ]


def test_head_gets_no_body(where):
    (answer,) = ask(GET.replace(b"GET", b"HEAD"), where=where)
    assert answer.endswith(b"Content-Length: 9\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize(
    "request_, status",
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"\r\n\r\n", b"400"),
        (b"GET /metrics\r\n\r\n", b"400"),
        (b"\xff\xfe \x00 x\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 101 + b"\r\n", b"400"),
        (b"x" * 20000, b"400"),
    ],
)
def test_anything_else_gets_an_error(where, request_, status):
    (answer,) = ask(request_, where=where)
    assert answer.startswith(b"HTTP/1.1 " + status) and b"Content-Length: 0\r\n" in answer


def test_a_bug_is_an_error_that_is_told(where, caplog):
    (answer,) = ask(GET, where=where, exposition=lambda accept: 1 / 0)
    assert answer.startswith(b"HTTP/1.1 500") and "ZeroDivisionError" in caplog.text


def test_who_says_nothing_is_let_go(where, monkeypatch):
    monkeypatch.setattr(metricsserver, "_SECONDS", 0.05)
    silent, half = ask(b"", GET[:9], where=where)
    assert silent == half == b""


def test_only_so_many_are_served_at_once(where, monkeypatch):
    monkeypatch.setattr(metricsserver, "_CALLS", 2)
    monkeypatch.setattr(metricsserver, "_SECONDS", 0.2)
    began = ask(b"", b"", GET, where=where)
    assert began == [b"", b"", b""]
    assert ask(GET, where=where)[0].startswith(b"HTTP/1.1 200")


def test_a_socket_that_a_killed_daemon_left_is_taken_over(tmp_path, where):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(where)
    (answer,) = ask(GET, where=where)
    assert b"200 OK" in answer and not list(tmp_path.iterdir())


def test_a_path_that_is_too_long_is_told(tmp_path):
    with pytest.raises(errors.Storage, match="metrics_listen.: AF_UNIX path too long"):
        asyncio.run(MetricsServer(exposition).listen(str(tmp_path / ("ä" * 60))))


def test_every_local_user_may_ask_at_the_socket(tmp_path, where):
    async def mode():
        server = MetricsServer(exposition)
        await server.listen(where)
        found = (tmp_path / "s").stat().st_mode
        server.close()
        return found

    assert stat.S_IMODE(asyncio.run(mode())) == 0o666


def test_a_link_in_its_place_opens_no_other_file(tmp_path, where, monkeypatch):
    """Whose the folder is may be quick."""
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    start = asyncio.start_unix_server

    async def replaced(*args, **more):
        server = await start(*args, **more)
        os.unlink(where)
        os.symlink(secret, where)
        return server

    monkeypatch.setattr(asyncio, "start_unix_server", replaced)
    with pytest.raises(errors.Storage, match="metrics_listen"):
        asyncio.run(MetricsServer(exposition).listen(where))
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def free_port(host):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
        try:
            free.bind((host, 0))
        except OSError as error:
            pytest.skip(f"{host}: {error}")
        return free.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_port_of_this_host(host):
    port = free_port(host.strip("[]"))

    async def scenario():
        server, second = MetricsServer(exposition), MetricsServer(exposition)
        await server.listen(f"{host}:{port}")
        with pytest.raises(errors.Storage) as taken:
            await second.listen(f"{host}:{port}")
        reader, writer = await asyncio.open_connection(host.strip("[]"), port)
        writer.write(GET)
        answer = await reader.read()
        server.close()
        return answer, str(taken.value)

    answer, taken = asyncio.run(asyncio.wait_for(scenario(), 10))
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert taken.endswith("(settings.metrics_listen): Address already in use")
