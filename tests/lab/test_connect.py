"""A LUN on a host without a VM start: kvmlun connect, the same on D-Bus, and what hangs on it."""

import json

import pytest

from tests.lab import machine, observe, san, wait_for
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "only kvmlun connects LUNs"

BUS = "busctl call io.github.kvmlun /io/github/kvmlun io.github.kvmlun.Manager1"


@pytest.fixture
def volume(s: Stage) -> san.Volume:
    made = s.volume("data")
    s.peer.know(s.kvms[0], "data", [made])
    return made


def only(s: Stage, volume: san.Volume) -> bool:
    state = s.states()[0]
    return state.targets == [volume.iqn] and volume.by_id in state.links


def test_connect_and_disconnect(s: Stage, volume: san.Volume) -> None:
    host = s.kvms[0]
    assert host.run("kvmlun connect data-0").out == f"{volume.by_id}\n"
    assert only(s, volume)
    wait_for("status", lambda: observe.users(host, volume.wwid) == ["connected by operator"], 20)
    s.another_comes_and_goes()
    assert only(s, volume)
    host.run("kvmlun disconnect data-0")
    s.wait_clean()
    again = host.run("kvmlun disconnect data-0", check=False)
    assert (again.rc, len(again.err.splitlines())) == (4, 1)


def test_a_connection_ends_with_its_time(s: Stage, volume: san.Volume) -> None:
    s.kvms[0].run("kvmlun connect data-0 --ttl 2")
    assert only(s, volume)
    s.wait_clean()


def test_each_owners_connection_counts(s: Stage, volume: san.Volume) -> None:
    host = s.kvms[0]
    host.run("kvmlun connect data-0 --owner a && kvmlun connect data-0 --owner b")
    host.run("kvmlun disconnect data-0 --owner a")
    host.run("systemctl kill -s KILL kvmlund")
    wait_for("kvmlund", lambda: host.run("kvmlun status", check=False).rc == 0, 30)
    assert only(s, volume)
    host.run("kvmlun disconnect data-0 --owner b")
    s.wait_clean()


def test_connect_renew_and_disconnect_on_dbus(s: Stage, volume: san.Volume) -> None:
    host = s.kvms[0]
    assert host.run(f"{BUS} Connect ssu data-0 agent 5").out == f's "{volume.by_id}"\n'
    host.run(f"{BUS} Renew ssu data-0 agent 3600")
    lease = "cat /run/kvmlun/leases/*.json"
    assert json.loads(host.run(lease).out)["expires"] > json.loads(host.run(lease).out)["began"] + 9
    host.run(f"{BUS} Disconnect ss data-0 agent")
    s.wait_clean()
    unknown = host.run(f"{BUS} Renew ssu data-0 agent 1", check=False)
    assert unknown.rc != 0 and "not connected by agent" in unknown.err


def attached(host: machine.Machine, vm) -> str:
    return host.run(["virsh", "domblklist", vm.uuid]).out


def test_attach_and_detach_on_a_connected_lun(s: Stage) -> None:
    """libvirt calls no hook for it: it is noticed, held, and let go of."""
    host, volume = s.kvms[0], s.volume("data")
    vm = s.vm("vm1", [s.volume("vm1")])
    vm.start(host)
    s.attach(vm, volume)
    written = f"virsh metadata {vm.uuid} https://kvmlun.github.io/ns/domain/1 --live"
    wait_for("its metadata", lambda: volume.wwid in host.run(written, check=False).out, 30)
    host.run(["virsh", "detach-disk", vm.uuid, "vdb", "--live"])
    wait_for("vdb detached", lambda: "vdb" not in attached(host, vm), 30)
    wait_for("its LUN to go", lambda: volume.iqn not in s.states()[0].targets, 60)
    vm.wait_writes(host)
    vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)
