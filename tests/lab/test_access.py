"""What users of the host and authors of a VM's definition get at, and what kvmlund itself may."""

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator

import pytest

from tests.lab import machine, remote, san, vm, wait_for
from tests.lab.stage import Stage
from tests.lab.test_errors import line
from tests.lab.test_secrets import ONE_WAY, guarded

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "only kvmlun has a daemon and metadata"

UNIT = "/usr/lib/systemd/system/kvmlund.service"
EXPOSURE = 50  # systemd-analyze counts in tenths

STANDARD = "org.freedesktop.DBus"
MANAGER = "io.github.kvmlun.Manager1"
LOOK = [
    f"{STANDARD}.Introspectable Introspect",
    f"{STANDARD}.ObjectManager GetManagedObjects",
    f"{STANDARD}.Properties GetAll s {MANAGER}",
    f"{MANAGER} ListVolumes",
    f"{MANAGER} GetVolume s vm1-0",
    f"{MANAGER} ListHolders",
    f"{MANAGER} DiskXml ss vm1-0 vda",
    f"{MANAGER} Connect ssu vm1-0 operator 60",
    f"{MANAGER} Renew ssu vm1-0 operator 60",
    f"{MANAGER} Disconnect ss vm1-0 operator",
    f"{MANAGER} Reconcile",
]
CHANGE = [
    f"{MANAGER} AddVolume sa{{sv}} x 0",
    f"{MANAGER} RemoveVolume s vm1-0",
    f"{MANAGER} ComparePin s vm1-0",
    f"{MANAGER} Repin ss vm1-0 {'naa.6001405' + 25 * '0'}",
    f"{MANAGER} StopComparing s vm1",
    f"{MANAGER} GiveUp s vm1",
    f"{MANAGER} Drain",
    f"{MANAGER} Resume",
    f"{MANAGER} Reload",
]
# No interface in the header, and the daemon by its unique name.
_WITHOUT_INTERFACE = """
import asyncio
from dbus_next import BusType, Message
from dbus_next.aio import MessageBus
async def main():
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    who = Message(destination="org.freedesktop.DBus", path="/org/freedesktop/DBus",
                  interface="org.freedesktop.DBus", member="GetNameOwner", signature="s",
                  body=["io.github.kvmlun"])
    owner = (await bus.call(who)).body[0]
    for name in ("io.github.kvmlun", owner):
        message = Message(destination=name, path="/io/github/kvmlun", member="RemoveVolume",
                          signature="s", body=["vm1-0"])
        print((await bus.call(message)).error_name)
asyncio.run(main())
"""
_CONNECT = "import socket; socket.socket(socket.AF_UNIX).connect('/run/kvmlun/hook.sock')"
# A portal that hears what an initiator says first, and answers nothing.
_LISTEN = """
import json, socket, sys
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as server:
    print("listening", flush=True)
    while True:
        connection, peer = server.accept()
        connection.settimeout(1)
        stream = connection.makefile("rb")
        try:
            header = stream.read(48)
            heard = stream.read(int.from_bytes(header[5:8], "big"))
        except OSError:
            heard = b""
        print(json.dumps([peer[0], heard.decode("latin-1")]), flush=True)
        connection.close()
"""


@pytest.fixture
def member(s: Stage) -> Iterator[str]:
    """A user who may manage VMs, and nothing else."""
    host, name = s.kvms[0], "lab-member"
    host.run(["useradd", "--system", "--groups", "libvirt", name])
    yield name
    host.run(["userdel", name])


def as_user(host: machine.Machine, user: str, *command: str) -> remote.Result:
    return host.run(["runuser", "-u", user, "--", *command], check=False)


def test_files_and_socket_are_for_root(s: Stage, member: str) -> None:
    """A LUN is here with a secret: in its file, its node record, its session."""
    host = s.kvms[0]
    guarded(s, host, ONE_WAY)
    host.run("kvmlun connect vm1-0")
    places = "/etc/kvmlun /etc/iscsi /run/kvmlun /var/lib/kvmlun /sys/class/iscsi_session/session*"
    secret = f"grep -rls {ONE_WAY['password']} {places} || true"
    kept = "find /run/kvmlun /var/lib/kvmlun -type f -readable"
    assert len(host.run(secret).out.splitlines()) == 3 and "/leases/" in host.run(kept).out
    host.run(["python3", "-c", _CONNECT])
    for user in ("nobody", member):
        assert as_user(host, user, "bash", "-c", secret).out == ""
        assert as_user(host, user, "bash", "-c", f"{kept} 2>/dev/null").out == ""
        told = as_user(host, user, "python3", "-c", _CONNECT)
        assert "PermissionError" in told.err


def test_who_may_call_what(s: Stage, member: str) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    s.peer.know(host, "vm1", [volume])

    def denied(user: str, call: str) -> bool:
        interface, *rest = call.split()
        service = ["io.github.kvmlun", "/io/github/kvmlun"]
        told = as_user(host, user, "busctl", "call", *service, interface, *rest)
        assert told.rc == 0 or user != member or call in CHANGE, told.err
        return told.rc != 0 and "Access denied" in told.err

    assert [call for call in LOOK + CHANGE if not denied("nobody", call)] == []
    assert [call for call in LOOK + CHANGE if denied(member, call)] == CHANGE
    assert [call for call in LOOK + CHANGE if denied("root", call)] == []
    s.peer.know(host, "vm1", [volume])
    told = as_user(host, member, "python3", "-c", _WITHOUT_INTERFACE)
    assert told.out.split() == [f"{STANDARD}.Error.AccessDenied"] * 2
    assert as_user(host, member, "kvmlun", "status").rc == 0
    assert as_user(host, "nobody", "kvmlun", "status").rc == 3


def test_the_daemons_sandbox(s: Stage) -> None:
    """What is left open stands in the unit, with the reason."""
    host = s.kvms[0]
    look = ["systemd-analyze", "security", "--no-pager", f"--threshold={EXPOSURE}"]
    host.run([*look, "kvmlund.service"])
    found = json.loads(host.run([*look, "--json=short", "kvmlund.service"]).out)
    left = [each["name"] for each in found if each["set"] is False and each["exposure"]]
    reasons = [text for text in host.run(["cat", UNIT]).out.splitlines() if text[:1] == "#"]
    text = "\n".join(reasons)
    assert left and [each for each in left if each.rpartition("~")[2] not in text] == []


@dataclasses.dataclass(frozen=True)
class Listener:
    """Something at a port of the SAN that is no portal of the operator's."""

    portal: str
    process: remote.Spawned

    @property
    def visits(self) -> list[str]:
        """What each initiator that came has said."""
        return [json.loads(each)[1] for each in self.process.out.splitlines()[1:]]

    @property
    def offers(self) -> set[str]:
        """Ways to authenticate that iscsid offered; kvmlund's own look has no secret to show."""
        logins = [said for said in self.visits if "InitiatorAlias=" in said]
        assert logins
        return set(re.findall("AuthMethod=([A-Za-z,]+)", "\n".join(logins)))


@pytest.fixture
def listener(s: Stage) -> Iterator[Listener]:
    address, port = s.san.host.address("san_b"), f"34{s.kvms[0].spec.octet}"
    process = s.san.host.spawn(["python3", "-u", "-c", _LISTEN, address, port])
    wait_for("the listener", lambda: "listening" in process.out, 30)
    yield Listener(f"{address}:{port}", process)
    process.stop()


def told_of(made: vm.Vm, volume: san.Volume) -> str:
    """The metadata that somebody may write who may define domains."""
    portals = ""
    for portal in volume.portals:
        address, _, port = portal.rpartition(":")
        portals += f'<k:portal address="{address}" port="{port}"/>'
    return (
        f'<k:domain xmlns:k="https://kvmlun.github.io/ns/domain/1" version="1" uuid="{made.uuid}">'
        f'<k:disk wwid="{volume.wwid}" target="{volume.iqn}" lun="0" size="0">{portals}</k:disk>'
        "</k:domain>"
    )


def defined(s: Stage, name: str, told: san.Volume, by_path: bool = False) -> vm.Vm:
    """A VM of which this host knows only what its definition says."""
    made = s.vm(name, [told], by_path=by_path, known_on=[])
    metadata = "" if by_path else told_of(made, told)
    s.kvms[0].run(["virsh", "define", "/dev/stdin"], input=made.xml(metadata=metadata))
    return made


def configure(s: Stage, **settings: object) -> None:
    s.peer.configure(s.kvms[0], login=2, login_attempts=1, prepare=10, **settings)


def fails(made: vm.Vm, host: machine.Machine, listener: Listener) -> None:
    """It logs in where its definition says, where nobody answers."""
    before = len(listener.visits)
    line(made, host)
    assert len(listener.visits) > before


def test_a_portal_that_the_operator_does_not_allow(s: Stage, listener: Listener) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    stray = dataclasses.replace(volume, portals=(listener.portal,))
    mixed = dataclasses.replace(volume, portals=(listener.portal, *volume.portals))
    strays = [defined(s, "vm1", stray), defined(s, "vm2", stray, by_path=True)]
    configure(s, portals=[volume.portal.partition(":")[0], "fd77:1::/64"])
    for made in strays:
        assert line(made, host) == (
            f"{made.links[0]}: {listener.portal} is no portal of a volume in /etc/kvmlun, and not "
            "in settings.portals of /etc/kvmlun/kvmlun.yaml; if it is yours add it there"
        )
    third = defined(s, "vm3", mixed)
    third.start(host, writing=False)
    third.destroy(host)
    s.wait_clean()
    assert listener.visits == []
    configure(s)
    for made in strays:
        fails(made, host, listener)
    s.wait_clean()


@contextlib.contextmanager
def secret_of_the_host(host: machine.Machine) -> Iterator[None]:
    """CHAP in iscsid.conf, for every target that has no secret of its own."""
    lines = "".join(
        f"node.session.auth.{name} = {value}\n"
        for name, value in {"authmethod": "CHAP", **ONE_WAY}.items()
    )
    file = "/etc/iscsi/iscsid.conf"
    host.run(f"cp -p {file} /root/iscsid.conf && cat >>{file}", input=lines)
    try:
        yield
    finally:
        host.run(f"mv /root/iscsid.conf {file}")


@pytest.mark.campaign
def test_a_secret_goes_to_portals_of_the_operator_only(s: Stage, listener: Listener) -> None:
    """Neither a volume's nor the host's own is shown to a portal that a definition names."""
    host = s.kvms[0]
    volume, vm1 = guarded(s, host, ONE_WAY)
    stray = dataclasses.replace(volume, portals=(listener.portal,))
    host.run(["virsh", "define", "/dev/stdin"], input=vm1.xml(metadata=told_of(vm1, stray)))
    configure(s)
    vm1.start(host, writing=False)
    vm1.destroy(host)
    s.wait_clean()
    assert listener.visits == []
    with secret_of_the_host(host):
        vm2 = defined(s, "vm2", stray, by_path=True)
        fails(vm2, host, listener)
        assert listener.offers <= {"None"}
        configure(s, portals=[listener.portal.partition(":")[0]])
        fails(vm2, host, listener)
        assert any("CHAP" in offer for offer in listener.offers)
    s.wait_clean()


@pytest.mark.campaign
def test_a_daemon_that_may_not_see_who_has_a_disk_open(s: Stage) -> None:
    """Its sandbox was made tighter than it can be: it takes nothing away."""
    host, volume = s.kvms[0], s.volume("vm1")
    s.peer.know(host, "vm1", [volume])
    drop_in = "/run/systemd/system/kvmlund.service.d/tighter.conf"
    host.put(b"[Service]\nCapabilityBoundingSet=~CAP_SYS_PTRACE\n", drop_in)
    host.run("systemctl daemon-reload; systemctl restart kvmlund")
    try:
        link = host.run("kvmlun connect vm1-0").out.strip()
        user = host.spawn(f"exec 9<{link}; exec setpriv --reuid nobody --clear-groups sleep 300")
        since = host.run("date +%s").out.strip()
        host.run("kvmlun disconnect vm1-0")
        told = f"journalctl -u kvmlund --since @{since} | grep 'lacks CAP_SYS_PTRACE'"
        wait_for("the refusal", lambda: host.run(told, check=False).rc == 0, 30)
        assert s.states()[0].targets == [volume.iqn]
        user.stop()
    finally:
        host.run(f"rm {drop_in}; systemctl daemon-reload; systemctl restart kvmlund")
    s.wait_clean()
