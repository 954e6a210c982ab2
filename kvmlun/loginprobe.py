"""What iscsiadm does not tell, asked of the portal itself: why a login failed, or its group.

iscsiadm tells only that it did, with one exit code for a wrong secret and for a
missing access right. One login request that is never completed makes the target
say more; it changes nothing there.
"""

from __future__ import annotations

import asyncio
import os
import struct
from pathlib import Path

from .lun import Portal
from .wait import within

INITIATOR = Path("/etc/iscsi/initiatorname.iscsi")

_UNREACHABLE = "the portal does not answer; is the storage network up, and the portal?"
_REFUSES = "the portal refuses connections; is the target's service running there?"
WANTS_CHAP = "the target wants CHAP, and this host has no (or a wrong) secret for it"
# RFC 7143, 11.13.5: status class and detail of a login response.
_STATUS = {
    0x0201: WANTS_CHAP,
    0x0202: "the target denies this host access; allow its initiator name {initiator} there",
    0x0203: "the portal knows no such target; is it exported there, and its name right?",
    # LIO's answer for a target that it does not have.
    0x0301: "the portal has no such target in service; is it exported there, and its name right?",
    0x0302: "the target has run out of resources",
}
_LOGIN_REQUEST, _LOGIN_RESPONSE = 0x43, 0x23
_HEADER_BYTES = 48


async def unreachable(portal: Portal, seconds: float) -> str:
    """Return why no connection to the portal can be made, "" if one can."""
    try:
        _, writer = await within(asyncio.open_connection(portal.host, portal.port), seconds)
    except ConnectionRefusedError:
        return _REFUSES
    except (OSError, TimeoutError):
        return _UNREACHABLE
    writer.close()
    return ""


async def refusal(target: str, portal: Portal, seconds: float) -> str:
    """Return why the portal refuses a login to `target`, "" if it says nothing of use."""
    try:
        answer = await within(_ask(target, portal), seconds)
    except ConnectionRefusedError:
        return _REFUSES
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return ""
    return meaning(*answer).format(initiator=initiator())


async def group(target: str, portal: Portal, seconds: float) -> int | None:
    """Return the portal group tag that the target tells (RFC 7143, 13.9), None if it does not."""
    try:
        return portal_group(*await within(_ask(target, portal), seconds))
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return None


def initiator(file: Path = INITIATOR) -> str:
    """Return this host's initiator name (iscsid's file), "" if it has none."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    names = (line.partition("=") for line in lines if not line.startswith("#"))
    return next((value.strip() for key, _, value in names if key.strip() == "InitiatorName"), "")


async def _ask(target: str, portal: Portal) -> tuple[bytes, bytes]:
    """Return header and data of the answer to a login request."""
    reader, writer = await asyncio.open_connection(portal.host, portal.port)
    try:
        writer.write(request(initiator(), target))
        await writer.drain()
        header = await reader.readexactly(_HEADER_BYTES)
        length = int.from_bytes(header[5:8], "big")
        return header, await reader.readexactly(min(length, 8192))
    finally:
        writer.close()


def request(initiator_name: str, target: str) -> bytes:
    """Return a login request (RFC 7143, 11.12) that stays in security negotiation.

    Its ISID is of the random kind with a value of its own, so that the target
    cannot take it for one of this host's sessions.
    """
    keys = {
        "InitiatorName": initiator_name,
        "TargetName": target,
        "SessionType": "Normal",
        "AuthMethod": "None,CHAP",
    }
    data = b"".join(f"{key}={value}\0".encode() for key, value in keys.items())
    isid = b"\x80" + os.urandom(5)
    header = struct.pack(">BB2xI6s2xI4x", _LOGIN_REQUEST, 0, len(data), isid, 1)
    return header.ljust(_HEADER_BYTES, b"\0") + data + bytes(-len(data) % 4)


def portal_group(header: bytes, data: bytes) -> int | None:
    """Return the portal group tag in a login response, None without one."""
    if header[0] & 0x3F != _LOGIN_RESPONSE:
        return None
    for pair in data.split(b"\0"):
        key, _, value = pair.partition(b"=")
        if key == b"TargetPortalGroupTag" and value.isdigit() and len(value) < 6:
            return int(value) if int(value) < 0x10000 else None
    return None


def meaning(header: bytes, data: bytes) -> str:
    """Return what a login response tells of a refusal, "" if it refuses nothing."""
    if header[0] & 0x3F != _LOGIN_RESPONSE:
        return ""
    status = int.from_bytes(header[36:38], "big")
    if status == 0 and b"AuthMethod=CHAP" in data.split(b"\0"):
        return WANTS_CHAP
    return _STATUS.get(status, "")
