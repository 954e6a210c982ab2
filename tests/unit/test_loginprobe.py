"""Why a login failed: login responses as RFC 7143 lays them out, and portals that do not answer."""

import asyncio
import struct

import pytest

from kvmlun import loginprobe
from kvmlun.lun import Portal

from .worlds import TARGET


def response(status=0, text=b""):
    header = bytearray(48)
    header[0] = 0x23
    header[5:8] = len(text).to_bytes(3, "big")
    header[36:38] = status.to_bytes(2, "big")
    return bytes(header), text


@pytest.mark.parametrize(
    "status, text, told",
    [
        (0x0201, b"", "wants CHAP"),
        (0, b"AuthMethod=CHAP\0TargetPortalGroupTag=1\0", "wants CHAP"),
        (0x0202, b"", "denies this host access"),
        (0x0203, b"", "knows no such target"),
    ],
)
def test_a_refusal_tells_its_cause(status, text, told):
    assert told in loginprobe.meaning(*response(status, text))


def test_what_is_no_refusal_tells_nothing():
    assert loginprobe.meaning(*response(0, b"AuthMethod=None\0")) == ""
    assert loginprobe.meaning(bytes(48), b"") == ""


def test_a_request_is_one_login_pdu():
    data = loginprobe.request("iqn.2026-11.com.example:host", TARGET)
    assert len(data) % 4 == 0
    (length,) = struct.unpack(">I", b"\0" + data[5:8])
    assert data[0] == 0x43 and data[1] == 0  # immediate login, security stage, no transit
    assert data[8] & 0xC0 == 0x80  # an ISID of the random kind
    assert f"TargetName={TARGET}".encode() in data[48 : 48 + length].split(b"\0")


def serve(answer, ask=loginprobe.refusal):
    """Return what is told of a portal that answers a login with these bytes."""

    async def play():
        async def talk(reader, writer):
            await reader.readexactly(48)
            writer.write(answer)
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await ask(TARGET, Portal("127.0.0.1", port), 5)

    return asyncio.run(play())


@pytest.mark.parametrize(
    "text, group",
    [
        (b"AuthMethod=None\0TargetPortalGroupTag=7\0", 7),
        (b"AuthMethod=CHAP\0", None),
        (b"TargetPortalGroupTag=-1\0", None),
        (b"TargetPortalGroupTag=70000\0", None),
        (b"TargetPortalGroupTag=" + b"9" * 5000, None),
    ],
)
def test_the_portals_group_is_told(text, group):
    assert serve(b"".join(response(0, text)), loginprobe.group) == group
    assert serve(b"", loginprobe.group) is None


def test_a_portal_is_asked():
    assert "knows no such target" in serve(b"".join(response(0x0203)))


def test_a_portal_that_talks_nonsense_tells_nothing():
    assert serve(b"HTTP/1.0 400 Bad Request\r\n") == ""


def test_a_closed_port_refuses():
    async def play():
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        return await loginprobe.unreachable(Portal("127.0.0.1", port), 5)

    assert "refuses connections" in asyncio.run(play())


def test_the_initiators_name_is_that_of_iscsid(tmp_path):
    file = tmp_path / "initiatorname.iscsi"
    file.write_text("## comment\nInitiatorName=iqn.1993-08.org.debian:01:abc\n")
    assert loginprobe.initiator(file) == "iqn.1993-08.org.debian:01:abc"
    assert loginprobe.initiator(tmp_path / "none") == ""


def test_a_tag_of_thousands_of_digits_is_none():
    """Python refuses by itself to make a number of more than 4300 digits."""
    text = b"TargetPortalGroupTag=" + b"1" * 5000 + b"\0"
    assert loginprobe.portal_group(*response(0, text)) is None


def test_an_initiator_name_beside_text_that_is_not_utf_8(tmp_path):
    file = tmp_path / "initiatorname.iscsi"
    file.write_bytes(b"# Caf\xe9\nInitiatorName=iqn.2026-11.com.example:kvm1\n")
    assert loginprobe.initiator(file) == "iqn.2026-11.com.example:kvm1"
