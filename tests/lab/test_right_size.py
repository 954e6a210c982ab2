"""The guest sees the LUN's own sectors, and what it discards the array gets back."""

import pytest

from tests.lab import san
from tests.lab.machine import Machine
from tests.lab.stage import Stage
from tests.lab.vm import Vm

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "only kvmlun prints a disk"

MIB = 1 << 20


def printed(s: Stage, vm: Vm) -> str:
    """Define the VM anew with the disk that kvmlun prints; return that."""
    disk = s.kvms[0].run(["kvmlun", "disk-xml", f"{vm.name}-0"]).out
    head, _, rest = vm.xml().partition("<disk ")
    xml = head + disk + rest.partition("</disk>")[2]
    s.kvms[0].run(["virsh", "define", "/dev/stdin"], input=xml)
    return disk


def sizes(vm: Vm, host: Machine) -> dict[str, int]:
    vm.command(host, "sizes")
    vm.wait_console(host, "^GUEST-SIZES vda")
    line = next(each for each in vm.console(host).splitlines() if each.startswith("GUEST-SIZES"))
    return {key: int(value) for key, value in (w.split("=") for w in line.split()[2:])}


@pytest.mark.parametrize("size", [pytest.param(512, marks=pytest.mark.campaign), 4096])
def test_the_guest_sees_the_luns_block_size(s: Stage, size: int) -> None:
    host = s.kvms[0]
    iqn = f"{s.base}:vm1"
    volume = s.san.create(iqn, attributes={"block_size": size})
    vm = s.vm("vm1", [volume])
    disk = printed(s, vm)
    assert ("<blockio " in disk) == (size != 512)
    vm.start(host)
    (name,) = s.states()[0].disks
    queue = f"/sys/block/{name}/queue"
    seen = sizes(vm, host)
    for key in ("logical", "physical"):
        assert seen[key] == size == int(host.run(f"cat {queue}/{key}_block_size").out)
    assert seen["discard"] % size == 0 and seen["discard"] > 0
    vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)


def test_without_the_lun_the_printed_disk_says_what_it_does_not_know(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    s.peer.know(host, "vm1", [volume])
    s.san.delete(volume.iqn)
    done = host.run(["kvmlun", "disk-xml", "vm1-0"])
    assert "block size not known: " in done.err and len(done.err.splitlines()) == 1
    assert "<!-- block size: not known here" in done.out and "<blockio" not in done.out


def allocated(s: Stage, volume: san.Volume) -> int:
    return int(s.san.host.run(["stat", "-c", "%b", volume.path]).out) * 512


def test_discard_reaches_the_array(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    vm = s.vm("vm1", [volume])
    printed(s, vm)
    fill = f"dd if=/dev/urandom of={volume.path} bs=1M seek=16 count=40 conv=notrunc,fsync"
    s.san.host.run(fill, timeout=120)
    vm.start(host)
    before = allocated(s, volume)
    vm.command(host, f"discard vda {16 * MIB} {40 * MIB}")
    vm.wait_console(host, "^GUEST-DISCARDED")
    s.san.host.run("sync")
    assert before - allocated(s, volume) >= 39 * MIB
    vm.wait_writes(host)
    vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)
