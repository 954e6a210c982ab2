"""What the hook and the daemon say to each other over the Unix socket.

Request: four bytes of length (big endian), a JSON header of that length, then
the domain XML until the end of the stream. Reply: a JSON object until the end.
Standard library only, since the hook uses it.
"""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import asdict, dataclass
from typing import Any

VERSION = 1
SOCKET = "/run/kvmlun/hook.sock"
MAX_HEADER = 64 << 10
MAX_XML = 16 << 20

# Operations that may refuse, with the seconds that libvirt has to wait at the most.
ASKED = {"migrate": 10.0, "restore": 10.0, "prepare": 45.0, "start": 10.0}
TOLD = ("started", "reconnect", "stopped", "release")
_TELL_SECONDS = 2.0


@dataclass(frozen=True)
class Header:
    """A hook call: its argv, when it began (boottime seconds), how many seconds it waits."""

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
        value = json.loads(data)
        if not isinstance(value, dict) or value.get("v") not in (VERSION, VERSION - 1):
            raise ValueError("unknown version of the hook protocol")
        header = cls(**{field: value[field] for field in cls.__dataclass_fields__})
        texts = (header.op, header.subop, header.extra, header.name)
        numbers = (header.boottime, header.deadline)
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a header field is no text")
        if not all(isinstance(number, int | float) for number in numbers):
            raise ValueError("a header field is no number")
        return header

    def encode(self) -> bytes:
        data = json.dumps(asdict(self)).encode()
        return struct.pack(">I", len(data)) + data


def ask(header: Header, xml: bytes, path: str = SOCKET) -> dict[str, Any]:
    """Send a call and return the reply. Raises OSError or ValueError."""
    with _send(header, xml, path, header.deadline) as connection:
        reply = b"".join(iter(lambda: connection.recv(65536), b""))
    value = json.loads(reply)
    if not isinstance(value, dict):
        raise ValueError("the reply is no object")
    return value


def tell(header: Header, xml: bytes, path: str = SOCKET) -> None:
    """Send a call and do not wait for an answer. Raises OSError."""
    _send(header, xml, path, _TELL_SECONDS).close()


def _send(header: Header, xml: bytes, path: str, seconds: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect(path)
        connection.sendall(header.encode() + xml)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        connection.close()
        raise
    return connection
