"""What QEMU may open."""

import json

import pytest

from tests.lab import CommandFailed, observe, trap, wait_for
from tests.lab.machine import Machine
from tests.lab.san import Volume
from tests.lab.stage import Stage
from tests.lab.vm import Vm

pytestmark = pytest.mark.one_host

MIB = 1 << 20


def refused(vm: Vm, host: Machine, *said: str) -> None:
    """A start is refused with one line that says it; virsh's own comes first."""
    with pytest.raises(CommandFailed) as caught:
        vm.start(host, writing=False)
    assert_told(caught.value.err, *said)


def assert_told(err: str, *said: str) -> None:
    lines = err.strip().splitlines()
    assert len(lines) == 2, err
    assert [text for text in said if text not in lines[1]] == [], lines[1]


def brings(vm: Vm, host: Machine) -> None:
    """A start succeeds; the guest need not boot."""
    vm.start(host, writing=False)
    vm.destroy(host)


def again(s: Stage, volume: Volume, size: int = 0) -> Volume:
    """Export the very LUN that was there, after another one was."""
    return s.san.swap(volume, serial=volume.serial, path=volume.path, size=size)


def test_another_disk_behind_the_same_name(s: Stage) -> None:
    """The array was renumbered: same IQN, same LUN, other content (as in CVE-2023-2088)."""
    host, volume = s.kvms[0], s.volume("vm1")
    vm = s.vm("vm1", [volume], by_path=True)
    other = s.san.swap(volume)
    assert other.wwid != volume.wwid
    refused(vm, host, volume.wwid, other.wwid)
    s.wait_clean()


def test_two_disks_that_took_each_others_place(s: Stage) -> None:
    host, first, second = s.kvms[0], s.volume("vm1"), s.volume("vm2")
    vms = [s.vm("vm1", [first]), s.vm("vm2", [second], by_path=True)]
    s.san.swap(first, serial=second.serial, path=second.path)
    s.san.swap(second, serial=first.serial, path=first.path)
    for vm in vms:
        refused(vm, host, first.wwid, second.wwid)
    again(s, first)
    again(s, second)
    for vm in vms:
        brings(vm, host)


def test_exchanged_beside_a_running_vm(s: Stage) -> None:
    """Its session is up for another VM, and the device of the LUN before is still there."""
    host, base, volume = s.kvms[0], s.volume("vm1"), s.volume("vm1", lun=1)
    s.peer.configure(host, grace=600)
    running, vm = s.vm("vm1", [base]), s.vm("vm2", [volume])
    running.start(host)
    brings(vm, host)
    assert volume.wwid in [disk["wwid"] for disk in s.states()[0].disks.values()]
    other = s.san.swap(volume)
    refused(vm, host, volume.wwid, other.wwid)
    again(s, volume)
    brings(vm, host)
    running.wait_writes(host)
    running.destroy(host)
    running.check_data(s.san)


@pytest.mark.campaign
def test_the_disk_that_took_the_place_of_an_idle_one(s: Stage, kvmlun: None) -> None:
    """Its device is still there, and with it the links of the one before: found anew."""
    host, volume = s.kvms[0], s.volume("vm1")
    s.peer.configure(host, grace=60)
    vm = s.vm("vm1", [volume])
    brings(vm, host)
    other = s.san.swap(volume)
    s.peer.know(host, "vm1", [])
    second = s.vm("vm2", [other])
    second.start(host)
    second.destroy(host)
    second.check_data(s.san)


def test_exchanged_between_prepare_and_start(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    vm = s.vm("vm1", [volume])
    with trap.held_at(host, "prepare", f"virsh start {vm.uuid}") as started:
        other = s.san.swap(volume)
    done = started.wait()
    assert done.rc != 0
    assert_told(done.err, volume.wwid, other.wwid)
    s.wait_clean()


def test_exchanged_while_its_session_is_down(s: Stage) -> None:
    """The VM is suspended when it could write to the other LUN, and goes on with the right one.

    Its guest writes nothing meanwhile: what it had in flight would be on the other LUN.
    """
    host, volume = s.kvms[0], s.volume("vm1")
    vm = s.vm("vm1", [volume])
    vm.start(host)
    vm.command(host, "stop")
    vm.wait_console(host, "^GUEST-STOPPED")

    def is_down() -> bool:
        ((_, state),) = s.states()[0].sessions.values()
        return state != "LOGGED_IN"

    with host.cut("san_a"):
        wait_for("the session to be down", is_down, 60)
        other = s.san.swap(volume)
    wait_for("the VM to be suspended", lambda: vm.state(host) == "paused", 60)
    assert [lun["state"] for lun in observe.status(host)["luns"]] == ["exchanged"]
    (told,) = observe.status(host)["suspended"]
    assert vm.name in told and volume.wwid in told and other.wwid in told
    assert "is suspended until the right LUN is back" in host.run("journalctl -u kvmlund").out
    again(s, volume)
    wait_for("the VM to go on", lambda: vm.state(host) == "running", 60)
    assert not observe.status(host)["suspended"]
    s.san.host.run(f"cmp -n {other.size} {other.path} /dev/zero")
    vm.command(host, "go")
    vm.wait_writes(host)
    vm.destroy(host)
    vm.check_data(s.san)


def test_a_lun_that_grew_or_shrank(s: Stage, kvmlun: None) -> None:
    """While it was logged in and nobody used it."""
    host, volume = s.kvms[0], s.volume("vm1")
    s.peer.configure(host, grace=600)
    vm = s.vm("vm1", [volume])
    vm.start(host, writing=False)
    wait_for(
        "the size in the metadata",
        lambda: f'size="{volume.size}"' in host.run(["virsh", "metadata", vm.uuid, NAMESPACE]).out,
        30,
    )
    vm.destroy(host)
    again(s, volume, size=volume.size - MIB)
    refused(vm, host, str(volume.size), str(volume.size - MIB))
    again(s, volume, size=volume.size + MIB)
    vm.start(host, writing=False)
    told = host.run(["virsh", "domblkinfo", vm.uuid, "vda"]).out
    assert f"{volume.size + MIB}" in told
    vm.destroy(host)


NAMESPACE = "https://kvmlun.github.io/ns/domain/1"


def test_write_protected_and_read_only(s: Stage) -> None:
    host, locked, volume = s.kvms[0], s.volume("vm1"), s.volume("vm2")
    s.san.restrict(locked, "demo_mode_write_protect", 1)
    refused(s.vm("vm1", [locked]), host, "write-protected", "<readonly/>")
    s.peer.know(host, "vm1", [])
    brings(s.vm("vm3", [locked], extra="<readonly/>"), host)
    brings(s.vm("vm2", [volume], extra="<readonly/>"), host)


def test_a_link_planted_on_another_disk(s: Stage, kvmlun: None) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    vm = s.vm("vm1", [volume])
    local = host.run("findmnt -n -o SOURCE /").out.strip()
    plant = f"mkdir -p /dev/disk/by-id && ln -sfn {local} {volume.by_id}"
    host.run(plant)
    # udev makes its own link in place of it when the disk comes.
    brings(vm, host)
    s.wait_clean()
    host.run(["kvmlun", "connect", "vm1-0"])
    host.run(plant)
    refused(vm, host, volume.by_id, local)
    host.run(f"rm {volume.by_id}; kvmlun disconnect vm1-0")


def test_every_link_of_a_lun(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    s.peer.know(host, "vm1", [volume])
    digits = volume.wwid.removeprefix("naa.")
    brings(s.vm("vm1", [volume], links=[f"/dev/disk/by-id/scsi-3{digits}"]), host)
    s.wait_clean()
    # Of a session that somebody made sg3-utils' rules make two more.
    name = f"-T {volume.iqn} -p {volume.portal}"
    host.run(f"iscsiadm -m node {name} -o new && iscsiadm -m node {name} --login; udevadm settle")
    found = [each for each in s.states()[0].links if "/scsi-1" in each or "/scsi-S" in each]
    assert len(found) == 2
    for index, link in enumerate(found):
        vm = s.vm(f"vm{index + 2}", [volume], links=[link], known_on=[])
        refused(vm, host, link, f"use {volume.by_id}")


LONG = [pytest.param(each, marks=pytest.mark.campaign) for each in ("AA B", "A- B", "BA A", "AB C")]


@pytest.mark.parametrize("knowledge", ["-A B", "AB A", *LONG])
def test_wwids_that_disagree(s: Stage, knowledge: str) -> None:
    """What the catalog says of an address, what the domain recorded, what the device says."""
    catalog, metadata, _, there = knowledge
    host, volumes = s.kvms[0], {"A": s.volume("vm1")}
    serials = {"B": "b" * 32, "C": "c" * 32}
    for letter, serial in serials.items():
        volumes[letter] = s.san.swap(volumes["A"], serial=serial)
    volumes["A"] = again(s, volumes["A"])
    vm = s.vm("vm1", [volumes["A"]], by_path=True, known_on=[])
    if metadata != "-":
        disk = {"wwid": volumes[metadata].wwid, "target": volumes["A"].iqn, "lun": "0", "size": "0"}
        define(host, vm, disk, volumes["A"].portal)
    if catalog != "-":
        s.peer.know(host, "vm1", [volumes[catalog]])
    if there != "A":
        s.san.swap(volumes["A"], serial=serials[there])
    # Two that disagree are told before anybody asks the device.
    known = {catalog, metadata} - {"-"}
    said = [volumes[each].wwid for each in (known if len(known) > 1 else {*known, there})]
    refused(vm, host, *said)


def define(host: Machine, vm: Vm, disk: dict[str, str], portal: str) -> None:
    """Define a VM with metadata that kvmlun would not write."""
    address, _, port = portal.rpartition(":")
    fields = "".join(f" {key}='{value}'" for key, value in disk.items())
    metadata = (
        f"<kvmlun:domain xmlns:kvmlun='{NAMESPACE}' version='1' uuid='{vm.uuid}'>"
        f"<kvmlun:disk{fields}><kvmlun:portal address='{address}' port='{port}'/></kvmlun:disk>"
        "</kvmlun:domain>"
    )
    host.run(["virsh", "define", "/dev/stdin"], input=vm.xml(metadata))


def test_the_first_use_pins_and_repin_alone_takes_another(s: Stage, kvmlun: None) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    vm = s.vm("vm1", [volume], by_path=True, known_on=[])
    vm.start(host, writing=False)
    wait_for("the pin", lambda: volume.wwid in host.run(["virsh", "dumpxml", vm.uuid]).out, 30)
    vm.destroy(host)
    other = s.san.swap(volume)
    refused(vm, host, volume.wwid, other.wwid, "kvmlun volume repin")
    repin = ["kvmlun", "volume", "repin", volume.by_path()]
    with pytest.raises(CommandFailed, match="--yes confirms") as caught:
        host.run(repin)
    assert caught.value.rc == 5 and volume.wwid in caught.value.err
    assert other.wwid in host.run([*repin, "--yes"]).out
    vm.start(host)
    with pytest.raises(CommandFailed, match="in use by vm1"):
        s.san.swap(other)
        host.run([*repin, "--yes"])


def test_a_volume_pinned_anew(s: Stage, kvmlun: None) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    vm, named = s.vm("vm1", [volume], by_path=True), s.vm("vm2", [volume], known_on=[])
    other = s.san.swap(volume)
    refused(vm, host, volume.wwid, other.wwid)
    told = host.run(["kvmlun", "volume", "repin", "vm1-0", "--yes"]).out
    assert other.wwid in told and f"virsh edit {named.name}" in told
    assert json.loads(host.run("kvmlun volume show vm1-0 --json").out)["wwid"] == other.wwid
    brings(vm, host)
    refused(named, host, volume.by_id)


def test_a_second_vm_on_the_same_lun(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    first = s.vm("vm1", [volume])
    second = s.vm("vm2", [volume], by_path=True, known_on=[])
    first.start(host)
    refused(second, host, "vm1")
    first.wait_writes(host)
    first.destroy(host)
    s.wait_clean()
    first.check_data(s.san)
