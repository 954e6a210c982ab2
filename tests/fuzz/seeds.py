"""Good inputs of each parser, which its fuzzing starts from, and texts that have hurt parsers."""

import json
import re
import struct

from tests.fuzz.parsers import UUID, WWID

TARGET = "iqn.2026-11.com.example:vm1"
BY_PATH = f"/dev/disk/by-path/ip-10.77.1.1:3260-iscsi-{TARGET}-lun-0"
_EUI = "eui.0123456789abcdef"
_NS = "https://kvmlun.github.io/ns/domain/1"
_MARKED = (
    f"<kvmlun:disk wwid='{WWID}' target='{_EUI}' lun='300' size='67108864' overlay='yes'>"
    "<kvmlun:portal address='10.77.1.1' port='3260'/></kvmlun:disk>"
)


def _domain(metadata: str, disk: str) -> str:
    return (
        f"<domain><name>vm1</name><uuid>{UUID}</uuid><metadata>{metadata}</metadata><devices>"
        f"<disk type='file'>{disk}<target dev='vda'/></disk></devices></domain>"
    )


_DOMAINS = [
    _domain("", f"<driver type='qcow2'/><source dev='{WWID.link}'/><readonly/>"),
    _domain("", f"<backingStore><source dev='{BY_PATH}'/></backingStore><shareable/>"),
    _domain("", "<driver cache='none'/><source pool='pool' volume='unit:0:0:1'/>"),
    _domain(
        f"<kvmlun:domain xmlns:kvmlun='{_NS}' version='1' uuid='{UUID}'>{_MARKED}</kvmlun:domain>",
        "",
    ),
]
_DTD = "<?xml version='1.0' encoding='utf-8'?><!DOCTYPE d [<!ENTITY a 'aa'><!ENTITY b '&a;&a;'>]>"
_HEADER = {"v": 1, "op": "prepare", "subop": "begin", "extra": "-", "name": "vm1",
           "boottime": 1.5, "deadline": 45.0}  # fmt: skip
_NAA = bytes.fromhex("0103001060014051111111111111111111111111")
_DESIGNATORS = (
    _NAA
    + bytes.fromhex("010200080123456789abcdef")
    + b"\2\1\0\x10LIO-ORG vm1 0001"
    + bytes.fromhex("0114000400000001")
)
_PAGE = b"\0\x83" + len(_DESIGNATORS).to_bytes(2, "big") + _DESIGNATORS
_POOL = (
    "<!-- x --><pool type='iscsi'><name>pool</name><source><host name='10.77.1.1' port='3260'/>"
    f"<device path='{TARGET}'/><auth type='chap' username='u'/></source></pool>"
)
_ENTRY = {"target": TARGET, "host": "10.77.1.1", "port": 3260, "record": True, "boot_id": "boot",
          "sid": 1, "ending": False, "iface": ""}  # fmt: skip
_LEASE = {"uuid": UUID, "name": "vm1", "began": 1.5, "settled": None, "role": "start",
          "needs": [{"target": TARGET, "lun": 0, "wwid": str(WWID), "shareable": False}],
          "expires": None}  # fmt: skip


def _call(op: str) -> bytes:
    header = json.dumps({**_HEADER, "op": op}).encode()
    return (
        struct.pack(">I", len(header)) + header + f"<domain><uuid>{UUID}</uuid></domain>".encode()
    )


def _answer(status: int, text: bytes) -> bytes:
    return b"\x23" + bytes(35) + status.to_bytes(2, "big") + bytes(10) + text


_ARGUMENTS = ["vm1", {"wwid": _EUI, "target": _EUI, "portals": ["10.0.0.1"], "lun": 1,
              "secret": "s"}, "backup", 60, "vda"]  # fmt: skip

SEEDS: dict[str, list[bytes]] = {
    "hook": [
        f"prepare\0vm1\0<uuid>{UUID}</uuid><source dev='{WWID.link}'/>".encode(),
        f"start\0\0<domain xmlns:k='{_NS}' overlay='{WWID}'/></metadata>".encode(),
        b"start\0\0<source pool='pool'/>",
        *(f"migrate\0vm1\0{xml}".encode() for xml in _DOMAINS[1:2]),
    ],
    "links": [
        BY_PATH.encode()[18:], WWID.link.encode()[16:],
        b"ip-fd77:1::1:3260-iscsi-naa.6001405111111111-lun-0x4101000000000000",
        b"scsi-20123456789abcdef", b"dm-uuid-mpath-360014051111111111111111111111111",
    ],
    "addresses": [
        str(WWID).encode(), b"eui.0123456789abcdef", b"t10.LIO-ORG vm1", TARGET.encode(),
        b"10.0.0.1:3260", b"[fd00::1]:3260", b"16383",
    ],
    "domain": [
        *(xml.encode() for xml in _DOMAINS),
        f"{_DTD}<domain><uuid>{UUID}</uuid><name>&b;</name></domain>".encode(),
    ],
    "metadata": [_MARKED.encode()],
    "yaml": [
        f"volumes: {{a: {{wwid: {_EUI}, target: {_EUI}, portals: [10.0.0.1]}}}}".encode(),
        f"volumes:\n  a: &a {{wwid: {_EUI}, lun: 1, target: {_EUI}, ifaces: [b], min_paths: 1,"
        ' secret: s,\n  portals: ["[fd00::1]:1"]}'.encode(),
        b"settings: {grace: 10, login: 8.5, login_attempts: 2, retry_autostart: yes}",
        b"a: &a [x]\nb: *a\n? [x]\n: !!float '1'\n",
    ],
    "scrape": [
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain;q=0.5",
        b"HEAD /metrics?name[]=x HTTP/1.0\r\naccept: application/openmetrics-text",
    ],
    "socket": [_call(op) for op in ("prepare", "migrate", "release")],
    "dbus": [json.dumps(_ARGUMENTS).encode()],
    "iscsiadm": [b"\x08iscsiadm: cannot make connection to 10.0.0.1: Connection refused\n"],
    "open-iscsi-files": [
        b"# BEGIN RECORD kvmlun\nnode.name = x\nnode.conn[0].port = 3260\n# END RECORD\n",
        b"iface.iscsi_ifacename = a\niface.net_ifacename = eth1\n",
        b"## x\nInitiatorName=iqn.1993-08.org.debian:01:abc\n",
    ],
    "login-answers": [
        _answer(0, b"TargetPortalGroupTag=1\0AuthMethod=CHAP\0"), _answer(0x0203, b""),
    ],
    "discovery": [f"{TARGET}\t10.77.1.1:3260,1\t[fd77:1::1]:3260,1\n\n".encode() + _PAGE],
    "vpd": [_PAGE],
    "secrets": [b"username = kvm\npassword = verysecret1\nusername_in=san\npassword_in = back12\n"],
    "pools": [
        f"unit:0:0:1\n{_POOL}".encode(),
        f"unit:0:0:300\n<poolstate>{_POOL[10:]}</poolstate>".encode(),
    ],
    "state-files": [
        kind + json.dumps(value).encode()
        for kind, value in (
            (b"o", _ENTRY), (b"l", _LEASE), (b"m", {"scanned": True, "wwid": str(WWID)}),
            (b"m", {"made": True}),
        )
    ],
    "sysfs": [
        f"{TARGET}\0default\0{'10.77.1.1'}\0LOGGED_IN\0running\0{WWID}".encode()
    ],
}  # fmt: skip

# Each has broken a parser somewhere, or would if it got through to a path or a command.
HOSTILE: list[bytes] = [
    b"/", b"../../etc/passwd", b"..", b"\n", b"\0", b"-rf", b"$(id)", b"`id`", b";", b"'", b'"',
    b"<!--", b"&amp;", b"&#10;", b"&#x0;", b"]]>", b"%n", b"{}", b"\x1b[2J", b"\xff", b"\xc3\x28",
    b"\xed\xa0\x80", b"\xe2\x80\xae", b"\xc5\xbf", b"\xe2\x84\xaa", b"\xc2\xb2", b"9" * 5000,
    b"a" * 5000, b"[" * 3000, b"<a>" * 1500, b"-1", b"0x10", b"1e400", b"NaN", b".nan", b".inf",
    b"Infinity", b"0X4101000000000000", b"utf-7", b"\\n",
    b"null", b"true", b"1.0", b"\\ud800", b"\\u0000", b"&x [*x]", b"*x", b"!!int ''",
    b"!!timestamp x", b"encoding='utf-7'", b"encoding='rot13'", b"\xfe\xff", b"\xff\xff\xff\xff",
]  # fmt: skip

_PLACE = re.compile(rb"[^ \n\t\0'\"<>=,:{}\[\]]+")


def places(data: bytes) -> list[tuple[int, int]]:
    """Return begin and end of each text in an input that may be a name or a value."""
    return [found.span() for found in _PLACE.finditer(data)]
