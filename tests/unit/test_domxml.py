"""Domain XML as libvirt 9.0 formats it, and our element in it."""

import dataclasses

import pytest

from kvmlun import domxml, errors
from kvmlun.lun import Lun, LunAddress, Portal

from .worlds import BY_PATH, LUN, OTHER_WWID, UUID, WWID

LINK = WWID.link
NS = domxml.NAMESPACE


def domain(devices="", metadata="", uuid=UUID):
    return f"""<domain type='qemu' id='1'>
  <name>vm 1 "ä"</name><uuid>{uuid}</uuid>
  <metadata>{metadata}</metadata>
  <devices>{devices}</devices></domain>""".encode()


def disk(source, extra=""):
    return f"""<disk type='block' device='disk'><driver name='qemu' type='raw'/>
      <source dev='{source}' index='1'/>{extra}<target dev='vda' bus='virtio'/></disk>"""


def stored(luns, uuid=UUID):
    """Our element as libvirt stores it: with the prefix it was asked to use."""
    text = domxml.metadata(uuid, luns)
    for tag in ("domain", "disk", "portal"):
        text = text.replace(f"<{tag}", f"<kvmlun:{tag}").replace(f"</{tag}", f"</kvmlun:{tag}")
    return text.replace("<kvmlun:domain", f"<kvmlun:domain xmlns:kvmlun='{NS}'", 1)


def test_disks_and_names():
    parsed = domxml.parse(domain(disk(LINK, "<readonly/>") + disk("/dev/vg/lv")))
    assert parsed.uuid == UUID and parsed.name == 'vm 1 "ä"'
    (found,) = parsed.disks
    assert found.links == (LINK,) and found.read_only and not found.shareable


def test_other_disks_are_named_with_their_sources():
    local = disk("/dev/sdb").replace("vda", "vdb")
    drive = "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>"
    parsed = domxml.parse(domain(disk(LINK) + local + drive))
    assert parsed.others == (("vdb", "/dev/sdb"), ("sda", ""))


def test_backing_files_and_mirrors_count_as_sources():
    backing = f"<backingStore type='block'><source dev='{LINK}'/></backingStore>"
    mirror = f"<mirror type='block' job='copy'><source dev='{OTHER_WWID.link}'/></mirror>"
    xml = f"<disk type='file'><source file='/o.qcow2'/>{backing}{mirror}<target dev='vda'/></disk>"
    parsed = domxml.parse(domain(xml))
    assert parsed.links == (LINK, OTHER_WWID.link)
    assert parsed.disks[0].below == (LINK,)
    assert domxml.parse(domain(disk(LINK, backing))).disks[0].below == ()


@pytest.mark.parametrize(
    "driver, inside, movable",
    [
        ("cache='none'", "", True),
        ("cache='directsync'", "", True),
        ("", "", False),
        ("cache='writeback'", "", False),
        ("cache='writeback'", "<shareable/>", True),
        ("", "<readonly/>", True),
    ],
)
def test_a_disk_that_the_host_caches_cannot_move(driver, inside, movable):
    xml = disk(LINK, inside).replace("type='raw'", f"type='raw' {driver}")
    (found,) = domxml.parse(domain(xml)).disks
    assert found.movable == movable


def test_a_qcow2_file_may_have_a_lun_below_it():
    file = "<disk type='file'><driver type='{}'/><source file='/o'/><target dev='vda'/></disk>"
    assert domxml.parse(domain(file.format("qcow2"))).overlays
    assert not domxml.parse(domain(file.format("raw"))).overlays
    assert not domxml.parse(domain(disk(LINK))).overlays


def test_metadata_there_and_back():
    luns = (
        LUN,
        dataclasses.replace(LUN, overlay=True),
        Lun(OTHER_WWID, LunAddress("iqn.2026-11.x:b", 300), (Portal("fd77::1", 860),), 4096),
    )
    assert domxml.parse(domain(metadata=stored(luns))).luns == luns


def test_a_clones_metadata_is_ignored():
    other = UUID.replace("1", "2")
    parsed = domxml.parse(domain(metadata=stored([LUN], uuid=other)))
    assert parsed.luns == ()


def test_metadata_names_no_device_secret_or_interface():
    """What is not in the format is ignored, whatever our own values call it."""
    text = stored([LUN])
    for place in ("wwid=", "address="):
        assert place in text
        more = "device='/dev/sdb' link='/dev/vda' secret='s' volume='v' min_paths='9' iface='eth0'"
        text = text.replace(place, f"{more} {place}")
    assert domxml.parse(domain(metadata=text)).luns == (LUN,)


@pytest.mark.parametrize(
    "old, new",
    [
        ('version="1"', 'version="2"'),
        (str(WWID), "naa.1"),
        ('lun="0"', 'lun="-1"'),
        ('address="10.77.1.1"', 'address="evil.example"'),
        ('target="iqn', 'target="../iqn'),
        ('size="67108864"', 'size="x"'),
    ],
)
def test_broken_metadata_is_refused(old, new):
    text = stored([LUN])
    assert old in text
    with pytest.raises(errors.Invalid):
        domxml.parse(domain(metadata=text.replace(old, new)))


@pytest.mark.parametrize("xml", [b"", b"<domain>", b"<network/>", b"\xff"])
def test_broken_xml_is_refused(xml):
    with pytest.raises(errors.Invalid):
        domxml.parse(xml)


def test_entities_do_not_blow_up():
    levels = "".join(f"<!ENTITY l{i} '{f'&l{i - 1};' * 10}'>" for i in range(1, 12))
    bomb = f"<!DOCTYPE d [<!ENTITY l0 'x'>{levels}]><domain><name>&l11;</name></domain>"
    with pytest.raises(errors.Invalid):
        domxml.parse(bomb.encode())


@pytest.mark.parametrize("uuid", ["", "..", "../../etc/x", "-rf", f"{UUID}\n\n{UUID}", f"{UUID}/"])
def test_a_domain_has_a_uuid_that_a_file_can_be_named_by(uuid):
    with pytest.raises(errors.Invalid, match="is no domain UUID"):
        domxml.parse(domain(uuid=uuid))


def test_disk_xml_is_found_again_in_a_domain():
    xml = domxml.disk_xml(LINK, "vdb")
    (found,) = domxml.parse(domain(xml)).disks
    assert found.target == "vdb" and found.links == (LINK,)
    for wanted in ('cache="none"', 'error_policy="stop"', 'discard="unmap"', 'io="native"'):
        assert wanted in xml


@pytest.mark.parametrize("target", ["", "vd", "xvda", "vd1", "vda'/><x", "vd" + "a" * 9])
def test_other_targets_are_refused(target):
    with pytest.raises(errors.Invalid):
        domxml.disk_xml(LINK, target)


def test_a_by_path_link_is_a_source():
    assert domxml.parse(domain(disk(BY_PATH))).links == (BY_PATH,)


@pytest.mark.parametrize("encoding", ["utf-7", "rot13", "idna", "none"])
def test_an_encoding_that_expat_does_not_know_is_malformed(encoding):
    xml = f"<?xml version='1.0' encoding='{encoding}'?>".encode() + domain()
    with pytest.raises(errors.Invalid, match="malformed"):
        domxml.parse(xml)


@pytest.mark.parametrize("uuid", ["", "..", "../../etc/x", UUID.replace("-", "/"), UUID + "0"])
def test_a_uuid_has_its_form(uuid):
    """Leases have it in their file's name."""
    with pytest.raises(errors.Invalid, match="UUID"):
        domxml.parse(domain(uuid=uuid))


def test_a_name_is_one_line():
    assert domxml.parse(domain().replace(b"vm 1", b"vm&#10;&#x2028;1")).name == 'vm 1 "\xe4"'


def test_metadata_has_an_end():
    """Everybody who may write metadata could otherwise keep the daemon busy."""
    with pytest.raises(errors.Invalid, match="more than 1000 disks"):
        domxml.parse(domain(metadata=stored([LUN] * 1001)))
    portals = tuple(Portal("10.0.0.1", port) for port in range(1, 66))
    with pytest.raises(errors.Invalid, match="more than 64 portals"):
        domxml.parse(domain(metadata=stored([dataclasses.replace(LUN, portals=portals)])))
    assert domxml.parse(domain(metadata=stored([LUN] * 1000)), with_metadata=False).luns == ()


def test_deep_xml_is_taken_as_it_is():
    assert domxml.parse(domain("<a>" * 100000 + "</a>" * 100000)).disks == ()
