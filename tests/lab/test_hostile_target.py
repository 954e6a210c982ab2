"""A target that lies: in bounded time one clear line, and nothing of it is left."""

import contextlib
import dataclasses
import fnmatch
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.lab import hostile, hostile_target, machine, san
from tests.lab.hostile import GOOD, NAA6, WWID, designator, identity, page
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "only kvmlun has lines of its own"

CONTROL = b"\x1b[31mred\r\nkvmlun.login: forged\0\x07"
SHELL = b"V $(touch /tmp/owned);`touch /tmp/owned` '\"&|"


NO_IDENTITY = "/dev/sd? tells no identity in VPD page 0x83"
NO_SIZE = "/dev/sd? has 0 bytes, expected more"
NO_SENSE = "{at}: the target refused the login for good, or its answer makes no sense"


@dataclasses.dataclass(frozen=True)
class Lie:
    """What a target says (hostile_target.py), and the line about it; "" where it does no harm."""

    says: dict[str, Any]
    line: str = ""


LIES = {
    "no-page": Lie(identity(None), NO_IDENTITY),
    "empty": Lie(identity(page(b"")), NO_IDENTITY),
    "control": Lie(
        identity(page(designator(1, CONTROL, 2) + designator(3, CONTROL, 2))), NO_IDENTITY
    ),
    "no-data": Lie(identity(""), NO_IDENTITY),
    "other-page": Lie(identity(page(designator(3, NAA6), number=0x80)), NO_IDENTITY),
    "long-designator": Lie(identity(page(designator(3, NAA6, length=0xFF))), NO_IDENTITY),
    "long-page": Lie(identity(page(designator(3, NAA6), length=0xFFFF))),
    "shell": Lie(identity(page(designator(1, SHELL, 2)))),
    "vendor": Lie(
        {**GOOD, "inquiry": hostile_target.standard(b"\x1b[31mX\r\n", b"$(id);`\n\0/../").hex()}
    ),
    "serial": Lie(
        {"pages": {str(0x83): page(designator(3, NAA6)), str(0x80): page(CONTROL, number=0x80)}}
    ),
    "short-inquiry": Lie({**GOOD, "inquiry": "00"}),
    "huge": Lie({**GOOD, "capacity": (b"\xff" * 8 + b"\0\0\2\0" + bytes(20)).hex()}, NO_SIZE),
    "odd-block": Lie({**GOOD, "capacity": (bytes(7) + b"\xff\0\0\0\3" + bytes(20)).hex()}, NO_SIZE),
    "luns-long": Lie({**GOOD, "luns": "fffffff800000000" + "00" * 8}),
    "luns-many": Lie(
        {**GOOD, "luns": (b"\0\0\x08\0" + bytes(4) + b"".join(
            n.to_bytes(2, "big") + bytes(6) for n in range(0x100))).hex()}
    ),
    "luns-endless": Lie({**GOOD, "endless": 0xA0}),
    "inquiry-endless": Lie(
        {**GOOD, "endless": 0x12},
        "{iqn} LUN 0 at {portal}: SCSI scan did not finish within * s; is the storage network up?",
    ),
    "login-text": Lie({"login": CONTROL.hex()}, NO_SENSE),
    "login-binary": Lie({"login": bytes(range(255, 0, -1)).hex()}, NO_SENSE),
    "login-keys": Lie({"login": b"MaxRecvDataSegmentLength=-1\0=\0=\0".hex()}, NO_SENSE),
    "login-status": Lie({"status": 0x7F7F}, NO_SENSE),
    "login-trickles": Lie(
        {"trickle": True}, "login to {at}: the target does not answer (iscsiadm exit code 11)"
    ),
}  # fmt: skip
SHORT = ("no-page", "empty", "control")

NAME = b"TargetName=iqn.2026-11.x:"
UNREADABLE = "kvmlun: discovery at {portal}: no list of targets that can be read: "
NO_LOGIN = "kvmlun: discovery at {portal}: the login failed: "
# What a portal answers to SendTargets, and how the command's line about it begins.
LISTS: dict[str, tuple[dict[str, Any], str]] = {
    "long-name": ({"text": (NAME + b"a" * 4096 + b"\0").hex()}, "targets left out: 1, "),
    "nasty-names": (
        {
            "text": b"".join(
                b"TargetName=" + name + b"\0"
                for name in (b"..", b"-rf", b"a/b", b"a\nb", b"\x1b[2J", b"\xff\xfe", SHELL)
            ).hex()
        },
        "targets left out: 7, ",
    ),
    "nasty-address": (
        {"text": (NAME + b"a\0TargetAddress=\xff\x1b[2J\n:99999,1\0").hex()},
        "targets left out: 1, ",
    ),
    "many-names": (
        {"text": b"".join(b"TargetName=X%d\0" % n for n in range(5000)).hex()},
        "targets left out: 5000, ",
    ),
    "nul": ({"text": (NAME + b"a\0b\0" + CONTROL).hex()}, UNREADABLE),
    "orphan": ({"text": b"TargetAddress=1.2.3.4:3260,1\0".hex()}, UNREADABLE),
    "endless": ({"endless": True}, UNREADABLE),
    "login-text": ({"login": CONTROL.hex()}, NO_LOGIN),
    "login-trickles": ({"trickle": True}, NO_LOGIN),
}


class Hostile:
    """The targets and portals that a test asked for, on the SAN host."""

    def __init__(self, s: Stage) -> None:
        self._s = s
        self._address = s.san.host.address("san_a")
        self._first_port = 34000 + 20 * s.kvms[0].spec.octet

    def portal(self, name: str = "") -> str:
        """Return the portal that lists targets so, the one without a lie by default."""
        return f"{self._address}:{self._first_port + ['', *LISTS].index(name)}"

    def volume(self, name: str) -> san.Volume:
        return san.Volume(f"{self._s.base}:{name}", 0, (self.portal(),), WWID, "", 64 << 20, "")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        ports = {
            self.portal(name).rpartition(":")[2]: says
            for name, (says, _) in {"": ({}, ""), **LISTS}.items()
        }
        targets = {self.volume(name).iqn: lie.says for name, lie in LIES.items()}
        with hostile.running(self._s.san.host, self._s.kvms[0].name, ports, targets):
            yield


@pytest.fixture
def liar(s: Stage) -> Iterator[Hostile]:
    """Whatever the lie, the daemon lives on and no line of its journal has a control character."""
    made, host = Hostile(s), s.kvms[0]
    pid = host.main_pid("kvmlund")
    with made.running():
        yield made
    assert host.main_pid("kvmlund") == pid
    says = host.run(f"journalctl _PID={pid} -o cat --all").out
    assert "kvmlund" in says and all(line.isprintable() for line in says.splitlines())
    assert host.run("ls /tmp/owned", check=False).rc != 0


def start(s: Stage, liar: Hostile, name: str) -> None:
    """Have a VM refused with the line that it should be, or started where that is harmless."""
    host, volume, lie = s.kvms[0], liar.volume(name), LIES[name]
    vm = s.vm(name, [volume], by_path=True, known_on=[])
    began = time.monotonic()
    told = host.run(["virsh", "start", "--paused", vm.uuid], check=False, timeout=120)
    assert time.monotonic() - began < 60
    if not lie.line:
        assert told.rc == 0, told.err
        return vm.destroy(host)
    assert told.rc != 0
    first, second = told.err.strip().splitlines()
    assert first == f"error: Failed to start domain '{name}'"
    names = {"iqn": volume.iqn, "portal": volume.portal, "at": f"{volume.iqn} at {volume.portal}"}
    line = second.partition("unexpected exit status 1: kvmlun: ")[2]
    assert fnmatch.fnmatchcase(line, f"{vm.links[0]}: {lie.line.format(**names)}"), line
    assert line.isprintable()


def discover(host: machine.Machine, portal: str) -> tuple[str, list[str]]:
    """Return what discover finds behind a portal and the lines that it tells beside."""
    began = time.monotonic()
    told = host.run(["kvmlun", "volume", "discover", portal], check=False, timeout=260)
    assert time.monotonic() - began < 240
    assert all(line.isprintable() and len(line) < 2100 for line in told.out.splitlines())
    assert all(line.isprintable() and len(line) < 2100 for line in told.err.splitlines())
    return told.out, told.err.splitlines()


def list_of_targets(s: Stage, liar: Hostile, name: str) -> None:
    out, (line,) = discover(s.kvms[0], liar.portal(name))
    assert line.startswith(LISTS[name][1].format(portal=liar.portal(name)))
    assert out in ("", "volumes:\n")


def test_an_array_without_identities(s: Stage, liar: Hostile) -> None:
    for name in SHORT:
        start(s, liar, name)
    s.wait_clean()


@pytest.mark.campaign
@pytest.mark.parametrize("name", [name for name in LIES if name not in SHORT])
def test_a_start(s: Stage, liar: Hostile, name: str) -> None:
    start(s, liar, name)
    s.wait_clean()


def test_lists_of_targets(s: Stage, liar: Hostile) -> None:
    for name in ("long-name", "nasty-names", "endless"):
        list_of_targets(s, liar, name)


@pytest.mark.campaign
@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_targets(s: Stage, liar: Hostile, name: str) -> None:
    list_of_targets(s, liar, name)


@pytest.mark.campaign
def test_discovery_of_targets_that_lie(s: Stage, liar: Hostile) -> None:
    """Each is offered or told of in one line, and keeps none of the others from it."""
    out, beside = discover(s.kvms[0], liar.portal())
    offered = yaml.safe_load(out)["volumes"]
    comments = [line for line in out.splitlines() if line.startswith("  # ")]
    for name in LIES:
        lines = [line for line in (*comments, *beside) if f":{name} " in line]
        assert len(lines) == (f"{name}-0" not in offered), lines
    assert {"shell-0", "vendor-0"} <= set(offered)
