"""Metrics by HTTP, on this host only: what a scrape asks for, and nothing else of HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import logging
import os
import stat
from collections.abc import Callable
from http import HTTPStatus, client

from . import errors

log = logging.getLogger("kvmlun.metricsserver")

PATH = "/metrics"
# Any local user may ask: each can take only so much of the daemon's time, memory and files.
_LONGEST = 8192
_SECONDS = 5.0
_CALLS = 16


class MetricsServer:
    """Answers with what `exposition` returns for an Accept header: content type and text."""

    def __init__(self, exposition: Callable[[str], tuple[str, bytes]]) -> None:
        self._exposition = exposition
        self._server: asyncio.Server | None = None
        self._path = ""
        self._calls: set[asyncio.Task[None]] = set()

    async def listen(self, where: str) -> None:
        """Listen at ADDRESS:PORT or at the path of a Unix socket; raises errors.Storage."""
        try:
            if where.startswith("/"):
                self._server = await asyncio.start_unix_server(
                    self._call_began, where, limit=_LONGEST
                )
                self._path = where
                _open_to_all(where)
            else:
                host, _, port = where.rpartition(":")
                self._server = await asyncio.start_server(
                    self._call_began, host.strip("[]"), int(port), limit=_LONGEST
                )
        except OSError as error:
            self.close()
            # asyncio's own text names the address once more; a path that is too long has no number.
            why = os.strerror(error.errno) if error.errno else error
            raise errors.Storage(
                f"no metrics at {where} (settings.metrics_listen): {why}"
            ) from error

    def close(self) -> None:
        """Listen no more."""
        if self._server:
            self._server.close()
            self._server = None
        if self._path:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            self._path = ""

    def _call_began(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._calls) >= _CALLS:
            return writer.close()
        call = asyncio.ensure_future(self._serve(reader, writer))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                writer.write(await self._answer(reader))
                await writer.drain()
        except (ConnectionError, TimeoutError, EOFError):
            writer.transport.abort()
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            line, _, rest = head.partition(b"\r\n")
            method, target, _ = line.decode("ascii").split(" ")
            headers = client.parse_headers(io.BytesIO(rest))
        except (ValueError, asyncio.LimitOverrunError, client.HTTPException):
            return _response(HTTPStatus.BAD_REQUEST)
        if target.partition("?")[0] != PATH:
            return _response(HTTPStatus.NOT_FOUND)
        if method not in ("GET", "HEAD"):
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, Allow="GET, HEAD")
        try:
            kind, text = self._exposition(headers.get("Accept", ""))
        except Exception:
            log.exception("metrics can't be told")
            return _response(HTTPStatus.INTERNAL_SERVER_ERROR)
        return _response(HTTPStatus.OK, text, method == "GET", Content_Type=kind)


def _open_to_all(path: str) -> None:
    """Let whoever is here ask, as at a port of localhost; raises OSError.

    The folder may be another user's, who is not to say whose mode root changes: a link that has
    taken the socket's place is not followed (chmod(2) of /proc/self/fd is glibc's own way).
    """
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
        os.chmod(f"/proc/self/fd/{descriptor}", 0o666)
    finally:
        os.close(descriptor)


def _response(status: HTTPStatus, body: bytes = b"", shown: bool = True, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + (body if shown else b"")
