"""Names that a shell, a path, an option or a terminal takes for more: never unquoted anywhere."""

import json
import shlex
from xml.sax.saxutils import escape

import pytest

from tests.lab import CommandFailed, observe, wait_for
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "only kvmlun has a catalog, metadata and a D-Bus service"

# libvirt itself allows neither "/" nor a line break.
DOMAIN = "-rf $(touch owned);`touch owned` '\"&|\\ ..\t%s{0}\x9b2J\u202eä\U0001f4be"
SHOWN = "-rf $(touch owned);`touch owned` '\"&|\\ .. %s{0} 2J ä\U0001f4be"
MANAGER = "io.github.kvmlun /io/github/kvmlun io.github.kvmlun.Manager1"


def is_printable(text: str) -> bool:
    return all(line.isprintable() for line in text.splitlines())


def test_a_domain(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    vm = s.vm("vm1", [volume])
    pid = host.main_pid("kvmlund")
    host.run(["virsh", "undefine", vm.uuid])
    xml = vm.xml().replace("<name>vm1</name>", f"<name>{escape(DOMAIN)}</name>")
    host.run(["virsh", "define", "/dev/stdin"], input=xml)
    host.run(["virsh", "start", "--paused", vm.uuid])
    wait_for("its user", lambda: observe.users(host, volume.wwid) == [SHOWN], 20)
    dump = ["virsh", "dumpxml", "--inactive", vm.uuid]
    wait_for("metadata", lambda: volume.iqn in host.run(dump).out.partition("</metadata>")[0], 20)
    table = host.run("kvmlun status").out
    assert is_printable(table) and "-rf $(touch owned);`touch owned`" in table
    with pytest.raises(CommandFailed) as second:
        host.run(["virsh", "create", "/dev/stdin"], input=s.twin(vm, "vm2"))
    line = second.value.err.strip().rpartition("kvmlun: ")[2]
    assert line.startswith(f"LUN {volume.wwid} is in use by domain -rf $(touch owned);")
    assert line.isprintable()
    vm.destroy(host)
    s.wait_clean()
    lines = host.run(f"journalctl _PID={pid} -o json --all").out.splitlines()
    says = [json.loads(line)["MESSAGE"] for line in lines]
    assert any("-rf $(touch owned);`touch owned`" in message for message in says)
    # One that is not printable, as one of several lines is not, comes as a list of bytes.
    assert all(isinstance(message, str) and message.isprintable() for message in says)
    assert host.run("find / -xdev -name owned -type f").out == ""
    assert host.main_pid("kvmlund") == pid


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(DOMAIN, id="shell"),
        pytest.param("../../etc/x\n\x1b[2J", id="path", marks=pytest.mark.campaign),
        pytest.param("a" * 70000, id="long", marks=pytest.mark.campaign),
    ],
)
def test_volumes_over_dbus(s: Stage, name: str) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    s.peer.know(host, "vm1", [volume])
    pid = host.main_pid("kvmlund")
    good = {"target": f"s {volume.iqn}", "wwid": f"s naa.6{'0' * 31}", "portals": "as 1 10.0.0.1"}

    def add(name: str, **changes: str) -> str:
        keys = {**good, **changes}
        members = " ".join(f"{shlex.quote(key)} {value}" for key, value in keys.items())
        return f"AddVolume 'sa{{sv}}' {shlex.quote(name)} {len(keys)} {members}"

    quoted = shlex.quote(name)
    calls = [f"{call} {quoted}" for call in ("GetVolume s", "RemoveVolume s")]
    calls += [f"Connect ssu {quoted} me 0", f"Disconnect ss {quoted} {quoted}"]
    calls += [f"Connect ssu vm1-0 {quoted}$'\\x01' 0", f"DiskXml ss vm1-0 {quoted}"]
    calls += [add(name), add("new", **{name: "s x"}), add("new", portals=f"av 1 s {quoted}")]
    calls += [add("new", **{key: f"s {quoted}"}) for key in ("target", "wwid", "secret")]
    calls += [add("new", **{key: f"as 1 {quoted}"}) for key in ("portals", "ifaces")]
    script = "".join(f"busctl call {MANAGER} -- {call}; echo $?\n" for call in calls)
    before = host.run("ls -A /etc/kvmlun/volumes.d").out
    done = host.run(["bash", "-s"], input=script, timeout=200)
    codes, lines = done.out.split(), done.err.splitlines()
    wrong = [call[:200] for call, code in zip(calls, codes, strict=True) if code == "0"]
    assert not wrong
    assert len(lines) == len(calls) and is_printable(done.err)
    assert max(map(len, lines)) < 2100
    assert host.run("ls -A /etc/kvmlun/volumes.d").out == before
    told = host.run(
        ["kvmlun", "volume", "add", "--wwid", volume.wwid, "--target", volume.iqn, "--portal",
         volume.portal, "--", DOMAIN], check=False,
    )  # fmt: skip
    assert told.rc == 2 and len(told.err.splitlines()) == 1 and "is no volume name" in told.err
    says = host.run(f"journalctl _PID={pid} -o cat --all").out
    assert is_printable(says) and "Traceback" not in says
    assert host.main_pid("kvmlund") == pid
    assert host.run("ls /tmp/owned", check=False).rc != 0


@pytest.mark.campaign
def test_a_target_name_of_223_bytes(s: Stage) -> None:
    name = "x" * (223 - len(f"{s.base}:"))
    by_path, by_id = s.volume(name, lun=0), s.volume(name, lun=1)
    assert len(by_path.iqn) == 223
    vm = s.vm("vm1", [by_path, by_id], links=[by_path.by_path(), by_id.by_id])
    s.kvms[0].run(["virsh", "start", "--paused", vm.uuid])
    vm.destroy(s.kvms[0])
    s.wait_clean()
