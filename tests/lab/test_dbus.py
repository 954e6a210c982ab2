"""The API on D-Bus as an agent uses it that is not libvirt: the examples of docs/dbus/agent.md."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import machine, observe, remote, san, wait_for
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "only kvmlun is on D-Bus"

PAGE = Path(__file__).parents[2] / "docs/dbus/agent.md"
AGENT = "cloud-agent"
KVMLUND = "busctl call io.github.kvmlun /io/github/kvmlun io.github.kvmlun.Manager1"
ACCESS_DENIED = "org.freedesktop.DBus.Error.AccessDenied"
# Says each signal as a line of JSON: the object that sent it, its name, what it is about.
_LISTEN = """
import asyncio, json
from dbus_next import BusType, Message, MessageType
from dbus_next.aio import MessageBus
async def main():
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    def hear(message):
        if message.message_type is MessageType.SIGNAL and "kvmlun" in (message.path or ""):
            print(json.dumps([message.path, message.member, str(message.body)]), flush=True)
    bus.add_message_handler(hear)
    rule = "type='signal',path_namespace='/io/github/kvmlun'"
    await bus.call(Message(
        "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch",
        signature="s", body=[rule]))
    print("listening", flush=True)
    await bus.wait_for_disconnect()
asyncio.run(main())
"""


def blocks() -> dict[str, str]:
    """Return the page's examples, each of a language of its own."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert len(dict(found)) == len(found)
    return dict(found)


def environment(volume: san.Volume) -> list[str]:
    address = volume.portal.partition(":")[0]
    return ["env", f"WWID={volume.wwid}", f"TARGET={volume.iqn}", f"PORTAL={address}"]


def left(host: machine.Machine, target: str) -> list[dict[str, object]]:
    """Return what Reconcile says is left to do for a target."""
    call = f"{KVMLUND.replace('call', '--json=short call', 1)} Reconcile"
    (found,) = json.loads(host.run(call).out)["data"]
    plain = [{key: member["data"] for key, member in each.items()} for each in found]
    return [each for each in plain if each["target"] == target]


@contextlib.contextmanager
def listening(host: machine.Machine, user: str) -> Iterator[remote.Spawned]:
    heard = host.spawn(["runuser", "-u", user, "--", "python3", "-c", _LISTEN])
    wait_for(f"{user} to listen", lambda: "listening" in heard.out, 30)
    yield heard
    heard.stop()


@pytest.fixture
def account(s: Stage) -> Iterator[str]:
    """The page's user, with the page's two files."""
    host, page = s.kvms[0], blocks()
    host.run(["useradd", "--system", AGENT])
    files = {}
    for language in ("xml", "js"):
        (path,) = re.findall(r"/etc/\S+", page[language].splitlines()[0])
        files[path] = page[language]
        host.put(page[language].encode(), path)
    yield AGENT
    host.run(["rm", *files])
    host.run(["userdel", AGENT])


def test_the_examples(s: Stage, account: str) -> None:
    """As root in a shell, and as a user in Python; who may look hears it, nobody else does."""
    host, volume, page = s.kvms[0], s.volume("cloud"), blocks()
    with listening(host, "root") as root, listening(host, "nobody") as nobody:
        done = host.run([*environment(volume), "sh", "-e", "-c", page["sh"]], timeout=120)
        told = [json.loads(line) for line in root.out.splitlines()[1:]]
        host.run("systemctl restart kvmlund")
        wait_for("kvmlund", lambda: host.run("kvmlun status", check=False).rc == 0, 20)
        heard_by_nobody = nobody.out.splitlines()[1:]
    assert f"the hypervisor's disk: {volume.by_id}\n{volume.size}\n" in done.out
    assert 's "in-use"' in done.out and '"connected by agent"' in done.out
    s.wait_clean()
    paths = {(path, member) for path, member, _ in told}
    assert {
        ("/io/github/kvmlun", "InterfacesAdded"),
        ("/io/github/kvmlun", "InterfacesRemoved"),
    } < (paths)
    states = [body for _, member, body in told if member == "PropertiesChanged" and "State" in body]
    assert any("in-use" in body for body in states) and any("absent" in body for body in states)
    assert heard_by_nobody == []
    as_user = ["runuser", "-u", account, "--", *environment(volume), "python3", "-c"]
    done = host.run([*as_user, page["python"]], timeout=120)
    assert f"a VM runs on {volume.by_id}\n" in done.out
    s.wait_clean()
    # Granted to nobody but administrators.
    give_up = f"runuser -u {account} -- {KVMLUND} GiveUp s vm1"
    assert "Access denied" in host.run(give_up, check=False).err


def test_an_agent_that_dies_leaves_its_vm_the_disk(s: Stage) -> None:
    """Its time is over and the LUN is open: it stays, and Reconcile says why. Then it goes."""
    host, volume = s.kvms[0], s.volume("cloud")
    s.peer.know(host, "cloud", [volume])
    link = host.run(f"{KVMLUND} Connect ssu cloud-0 agent 1").out.split('"')[1]
    guest = host.spawn(f"exec 9<{link}; exec sleep 300")
    wait_for("the guest", lambda: host.run("pgrep -f '[s]leep 300'", check=False).rc == 0, 10)

    def kept() -> bool:
        return any("is open in sleep" in str(each["problem"]) for each in left(host, volume.iqn))

    wait_for("the reason why it is kept", kept, 60)
    assert s.states()[0].targets == [volume.iqn]
    guest.stop()
    wait_for("nothing to be left", lambda: not left(host, volume.iqn), 60)
    assert s.states()[0].targets == []
    s.wait_clean()


@contextlib.contextmanager
def hidden(host: machine.Machine, units: str, program: str) -> Iterator[None]:
    """A host on which a daemon is not installed, for its units and for who looks."""
    host.run(f"systemctl stop {units}; mv {program} {program}.hidden")
    try:
        yield
    finally:
        host.run(f"mv {program}.hidden {program}; systemctl start {units.split()[0]}")


@pytest.mark.campaign
def test_a_host_without_libvirt(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("cloud")
    units = "libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd.service"
    with hidden(host, units, "/usr/sbin/libvirtd"):
        host.run("systemctl restart kvmlund")
        host.run([*environment(volume), "sh", "-e", "-c", blocks()["sh"]], timeout=120)
        assert observe.status(host)["libvirt_problem"] == ""
        told = json.loads(host.run("kvmlun doctor --json", check=False).out)
        assert "hook" not in {finding["check"] for finding in told}
        s.wait_clean()
    host.run("systemctl start libvirtd-ro.socket libvirtd-admin.socket")


@pytest.mark.campaign
def test_a_host_without_polkit(s: Stage, account: str) -> None:
    """Root needs none; whoever would be asked about gets nothing."""
    host, volume = s.kvms[0], s.volume("cloud")
    s.peer.know(host, "cloud", [volume])
    connect = f"{KVMLUND} Connect ssu cloud-0 agent 1"
    assert host.run(f"runuser -u {account} -- {connect}").rc == 0
    host.run("systemctl mask --runtime --now polkit")
    try:
        told = host.run(f"runuser -u {account} -- {connect}", check=False)
        assert told.rc != 0 and "Access denied" in told.err
        host.run(connect)
    finally:
        host.run("systemctl unmask --runtime polkit")
    s.wait_clean()
