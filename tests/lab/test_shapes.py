"""What a VM's disks may look like: numbers, portals, links, names, and how many."""

import dataclasses

import pytest

from tests.lab import CommandFailed, san, wait_for
from tests.lab.machine import Machine
from tests.lab.stage import Stage
from tests.lab.vm import Vm

pytestmark = pytest.mark.one_host

TGT_PORT = 3270


def starts_and_stops(s: Stage, vm: Vm, writing: bool = True) -> None:
    """Start it, see just its LUNs under its links, stop it, and check what was written."""
    host = s.kvms[0]
    vm.start(host, writing=writing)
    state = s.states()[0]
    assert {disk["wwid"] for disk in state.disks.values()} == {v.wwid for v in vm.volumes}
    assert state.targets == sorted({volume.iqn for volume in vm.volumes})
    assert set(vm.links) <= set(state.links)
    vm.destroy(host)
    s.wait_clean()
    if writing:
        vm.check_data(s.san)


@pytest.mark.campaign
def test_sixteen_luns_side_by_side(s: Stage) -> None:
    volumes = [s.volume(f"many{number}", size=4 << 20) for number in range(16)]
    vm = s.vm("vm1", volumes, writes_to=1)
    starts_and_stops(s, vm)


def test_lun_numbers(s: Stage) -> None:
    """LIO reports numbers from 256 on plainly, that is with peripheral addressing."""
    numbers = (1, 255, 256, 300)
    vm = s.vm("vm1", [s.volume("numbers", lun=n, size=8 << 20) for n in numbers], by_path=False)
    starts_and_stops(s, vm)


@pytest.fixture
def tgt(s: Stage):
    """A target whose LUNs 1 and 300 are addressed flatly, as tgt does from 256 on."""
    host, iqn = s.san.host, f"{s.base}:flat"
    portal = f"{host.address('san_a')}:{TGT_PORT}"
    unit = f"tgtd-{s.kvms[0].name}"
    host.run(f"systemd-run --unit {unit} tgtd -f -t 1 --iscsi portal={portal}")
    adm = "tgtadm --lld iscsi --op"
    new = f"{adm} new --mode target --tid 1 -T {iqn}"
    wait_for("tgtd", lambda: host.run(new, check=False).rc == 0, 30)
    volumes = []
    for lun in (1, 300):
        path, digits = f"/var/target/flat-{lun}.img", f"6001405{lun:025x}"
        host.run(f"truncate -s 16M {path}")
        host.run(f"{adm} new --mode logicalunit --tid 1 --lun {lun} -b {path}")
        identity = f"scsi_id={digits},scsi_sn=flat{lun}"
        host.run(f"{adm} update --mode logicalunit --tid 1 --lun {lun} --params {identity}")
        volumes.append(san.Volume(iqn, lun, (portal,), f"naa.{digits}", "", 16 << 20, path))
    host.run(f"{adm} bind --mode target --tid 1 -I ALL")
    yield volumes
    host.run(f"systemctl kill -s KILL {unit}; rm -f /var/target/flat-*", check=False)


def test_flat_addressing(s: Stage, tgt) -> None:
    starts_and_stops(s, s.vm("vm1", tgt))


def test_a_portal_that_is_not_3260(s: Stage) -> None:
    portal = f"{s.san.host.address('san_a')}:3999"
    volume = s.volume("port", portals=[portal])
    starts_and_stops(s, s.vm("vm1", [volume], by_path=True, known_on=[]))


def test_an_ipv6_portal(s: Stage) -> None:
    volume = s.volume("six", portals=[s.san.portal(ipv6=True)])
    starts_and_stops(s, s.vm("vm1", [volume], by_path=True, known_on=[]))


def test_links_of_all_kinds(s: Stage) -> None:
    volumes = [s.volume("mixed", lun=n, size=8 << 20) for n in range(3)]
    scsi = f"/dev/disk/by-id/scsi-3{volumes[1].wwid.removeprefix('naa.')}"
    links = [volumes[0].by_id, scsi, volumes[2].by_path()]
    starts_and_stops(s, s.vm("vm1", volumes, links=links))


def test_two_disks_on_one_lun_are_refused(s: Stage) -> None:
    volume = s.volume("vm1")
    s.peer.know(s.kvms[0], "vm1", [volume])
    links = [volume.by_id, volume.by_path()]
    vm = s.vm("vm1", [volume, volume], links=links, writes_to=1, known_on=[])
    with pytest.raises(CommandFailed) as refused:
        vm.start(s.kvms[0], writing=False)
    assert f"two disks of vm1 are the same LUN {volume.wwid}" in refused.value.err
    s.wait_clean()


def renamed(vm: Vm, host: Machine, name: str) -> None:
    host.run(["virsh", "undefine", vm.uuid])
    xml = vm.xml().replace("<name>vm1</name>", f"<name>{name}</name>")
    host.run(["virsh", "define", "/dev/stdin"], input=xml)


def test_a_name_with_everything_in_it(s: Stage) -> None:
    vm = s.vm("vm1", [s.volume("vm1")])
    renamed(vm, s.kvms[0], "-ä \"q' $(reboot);`x`  \\ ü")
    starts_and_stops(s, vm)


def test_a_large_definition(s: Stage) -> None:
    host, vm = s.kvms[0], s.vm("vm1", [s.volume("vm1")])
    text = "<description>" + "long words, and many of them. " * 1400 + "</description>"
    xml = vm.xml().replace("<memory ", f"{text}<memory ", 1)
    assert len(xml) > 40_000
    host.run(["virsh", "define", "/dev/stdin"], input=xml)
    starts_and_stops(s, vm)


def test_a_twin_of_another_target_is_refused(s: Stage) -> None:
    """Two targets with one identity: a by-id link could lead to either."""
    host, one = s.kvms[0], s.volume("one")
    two = s.san.create(f"{s.base}:two", serial=one.serial)
    assert one.wwid == two.wwid
    first = s.vm("vm1", [one], by_path=True, known_on=[])
    second = s.vm("vm2", [dataclasses.replace(two)], by_path=True, known_on=[])
    first.start(host, writing=False)
    with pytest.raises(CommandFailed):
        second.start(host, writing=False)
    first.destroy(host)
    s.wait_clean()
