"""The Unix socket on which hooks ask. Root only; nothing here trusts its input's form."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import struct
from dataclasses import dataclass

from . import domxml, errors, events, hookproto, pools
from .hooks import Hooks
from .leases import boottime
from .tally import Tally
from .wait import Deadline, within

log = logging.getLogger("kvmlun.hookserver")

# The hook gives up at its own deadline; the answer has to be there a little earlier.
_MARGIN_SECONDS = 1.0
_READ_SECONDS = 10.0
_DRAIN_SECONDS = 3.0


@dataclass(frozen=True)
class Header:
    """A hook call, as hookproto describes it."""

    v: int
    op: str
    subop: str
    extra: str
    name: str
    boottime: float
    deadline: float

    @classmethod
    def parse(cls, data: bytes) -> Header:
        """Raises ValueError unless `data` is a header of this or the previous version."""
        try:
            value = json.loads(data)
        except RecursionError:
            raise ValueError("the header is nested too deeply") from None
        if not isinstance(value, dict) or value.get("v") not in (
            hookproto.VERSION,
            hookproto.VERSION - 1,
        ):
            raise ValueError("unknown version of the hook protocol")
        if not set(cls.__dataclass_fields__) <= set(value):
            raise ValueError("a header field is missing")
        header = cls(**{field: value[field] for field in cls.__dataclass_fields__})
        texts = (header.op, header.subop, header.extra, header.name)
        numbers = (header.boottime, header.deadline)
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a header field is no text")
        if not all(type(number) in (int, float) and abs(number) < 1e12 for number in numbers):
            raise ValueError("a header field is no number of seconds")
        return header


class HookServer:
    """Serves hook calls; `socket` is the listening one that systemd made."""

    def __init__(self, hooks: Hooks, tally: Tally) -> None:
        self._hooks = hooks
        self._tally = tally
        self._calls: set[asyncio.Task[None]] = set()
        self._stopped = False

    async def start(self, listening: socket.socket) -> None:
        # Not start_unix_server, which from Python 3.13 on removes systemd's socket at the end.
        self._server = await asyncio.start_server(self._call_began, sock=listening)

    async def stop(self) -> None:
        """Take no more calls, which wait for the next daemon, and answer those soon over.

        The others get no answer and ask the next daemon, for which none must wait long.
        """
        self._server.close()
        deadline = Deadline(_DRAIN_SECONDS)
        while self._calls and deadline.left:
            await asyncio.wait(self._calls, timeout=deadline.left)
        self._stopped = True
        for call in self._calls:
            call.cancel()

    def _call_began(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._stopped:
            return writer.close()
        call = asyncio.ensure_future(self._serve(reader, writer))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if _peer_uid(writer) != 0:
                log.warning("a process that is not root spoke to the hook socket")
                return
            reply = await self._reply(reader)
            writer.write(json.dumps(reply).encode())
            await writer.drain()
        except ConnectionError:
            log.debug("the hook is gone")
        finally:
            writer.close()

    async def _reply(self, reader: asyncio.StreamReader) -> dict[str, object]:
        try:
            header, xml = await within(_read(reader), _READ_SECONDS)
        except (ValueError, EOFError, TimeoutError) as error:
            log.warning("malformed hook call: %s", error)
            return _answer("malformed hook call")
        if (header.op, header.name) == ("restore", hookproto.PROBE):
            return _answer(hookproto.REACHED)
        with events.about(domain=header.name, operation=header.op):
            return await self._answer(header, xml)

    async def _answer(self, header: Header, xml: bytes) -> dict[str, object]:
        what = f"{errors.one_line(header.name)} {header.op}"
        try:
            with self._tally.asking(header.op):
                await self._call(header, xml)
        except errors.Error as error:
            log.warning("%s: refused: %s", what, error, extra=events.REFUSED())
            return _answer(str(error))
        except Exception:
            log.exception("%s failed", what)
            return _answer(errors.INTERNAL)
        return _answer("")

    async def _call(self, header: Header, xml: bytes) -> None:
        domain = domxml.parse(xml, volume_link=pools.volume_link)
        log.debug("%s %s %s", domain.name, header.op, header.extra)
        waited = boottime() - header.boottime
        limit = min(header.deadline, self._hooks.limit(header.op))
        deadline = Deadline(limit - waited - _MARGIN_SECONDS)
        if header.op == "prepare":
            await self._hooks.prepare(domain, header.boottime, deadline)
        elif header.op == "start":
            await self._hooks.verify(domain, deadline)
        elif header.op == "migrate":
            self._hooks.check_incoming(domain)
        elif header.op == "restore":
            self._hooks.check_restored(domain)
        elif header.op == "started":
            await self._hooks.started(domain, header.deadline > 0, deadline)
        elif header.op == "release":
            self._hooks.release(domain, header.boottime)
        else:
            self._hooks.noted()


def _answer(problem: str) -> dict[str, object]:
    return {"ok": not problem, "v": hookproto.VERSION, "line": problem}


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    peer = writer.get_extra_info("socket")
    form = "3i"
    data = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(form))
    return int(struct.unpack(form, data)[1])


async def _read(reader: asyncio.StreamReader) -> tuple[Header, bytes]:
    (length,) = struct.unpack(">I", await reader.readexactly(4))
    if length > hookproto.MAX_HEADER:
        raise ValueError("the header is too long")
    header = Header.parse(await reader.readexactly(length))
    xml = bytearray()
    while chunk := await reader.read(65536):
        xml += chunk
        if len(xml) > hookproto.MAX_XML:
            raise ValueError("the XML is too long")
    return header, bytes(xml)
