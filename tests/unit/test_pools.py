"""libvirt's iSCSI pools, in the form in which libvirt 9.0 writes them."""

import pytest

from kvmlun import domxml, hook, pools
from kvmlun.lun import Portal

from .worlds import TARGET, UUID

POOL = f"""<!--
WARNING: THIS IS AN AUTO-GENERATED FILE. CHANGES TO IT ARE LIKELY TO BE
OVERWRITTEN AND LOST. Changes to this xml configuration should be made using:
  virsh pool-edit san
or other application using the libvirt API.
-->

<pool type='iscsi'>
  <name>san &amp; more</name>
  <uuid>5a9d3a0e-5a0c-4c6e-8f0e-6a0f4b8b7a11</uuid>
  <capacity unit='bytes'>0</capacity>
  <allocation unit='bytes'>0</allocation>
  <available unit='bytes'>0</available>
  <source>
    <host name='10.77.1.1' port='3260'/>
    <device path='{TARGET}'/>
  </source>
  <target>
    <path>/dev/disk/by-path</path>
  </target>
</pool>
"""
DISK = """<disk type='volume' device='disk'>
      <driver name='qemu' type='raw' cache='none'/>
      <source pool='san &amp; more' volume='unit:0:0:1'/>
      <target dev='vda' bus='virtio'/>
    </disk>"""
DOMAIN = f"""<domain type='kvm'><name>vm1</name><uuid>{UUID}</uuid><devices>
    {DISK}
  </devices></domain>"""
LINK = f"/dev/disk/by-path/ip-10.77.1.1:3260-iscsi-{TARGET}-lun-"


@pytest.fixture
def folders(tmp_path, monkeypatch):
    run, etc = tmp_path / "run", tmp_path / "etc"
    run.mkdir()
    etc.mkdir()
    (etc / "san & more.xml").write_text(POOL)
    (etc / "default.xml").write_text("<pool type='dir'><name>default</name></pool>")
    (etc / "direct.xml").write_text(POOL.replace("'iscsi'", "'iscsi-direct'"))
    (etc / "broken.xml").write_text("<pool type='iscsi'")
    monkeypatch.setattr(hook, "POOLS", (str(run), str(etc)))
    monkeypatch.setattr(hook, "WWIDS", str(tmp_path / "wwids"))
    return run, etc


def test_only_iscsi_pools_count(folders):
    (pool,) = pools.pools(folders)
    assert (pool.name, pool.target, pool.host, pool.chap) == (
        "san & more", TARGET, "10.77.1.1", False,
    )  # fmt: skip
    assert pools.find("../etc/default", folders) is None


def test_a_running_pools_state_comes_first(folders):
    state = (
        f"<poolstate>\n{POOL[POOL.index('<pool') :].replace('10.77.1.1', '10.77.2.1')}</poolstate>"
    )
    (folders[0] / "san & more.xml").write_text(state)
    assert pools.find("san & more", folders).host == "10.77.2.1"


@pytest.mark.parametrize(
    "volume, link",
    [
        ("unit:0:0:1", f"{LINK}1"),
        ("unit:0:0:16684", f"{LINK}0x412c000000000000"),
        ("unit:0:0:x", None),
        ("unit:0:0:" + "9" * 5000, None),
        ("disk.qcow2", None),
    ],
)
def test_a_volume_has_udevs_link(folders, volume, link):
    assert pools.find("san & more", folders).link(volume) == link


def test_the_session_tells_the_address_that_a_name_does_not(folders):
    pool = pools.find("san & more", folders)
    named = pools.Pool("p", TARGET, "san.example", "3260")
    one, two = Portal("10.77.1.1"), Portal("10.77.2.1")
    assert named.link("unit:0:0:1") is None
    assert named.link("unit:0:0:1", [one]) == f"{LINK}1"
    assert pool.link("unit:0:0:1", [two, one]) == f"{LINK}1"
    assert pool.link("unit:0:0:1", [two]) == f"{LINK}1".replace("10.77.1.1", "10.77.2.1")


def test_a_domain_with_a_pools_volume(folders):
    def volume_link(pool, volume):
        return pools.find(pool, folders).link(volume)

    (disk,) = domxml.parse(DOMAIN.encode(), volume_link=volume_link).disks
    assert disk.links == (f"{LINK}1",) and disk.movable
    direct = DOMAIN.replace("volume='unit:0:0:1'", "volume='unit:0:0:1' mode='direct'")
    assert domxml.parse(direct.encode(), volume_link=volume_link).disks == ()


@pytest.mark.parametrize(
    "name, asks",
    [("san &amp; more", True), ("default", False), ("direct", False), ("none", False),
     ("../etc/default", False)],
)  # fmt: skip
def test_the_hook_asks_for_iscsi_pools_only(folders, name, asks):
    (folders[0].parent / "wwids").write_text("")
    assert hook.concerns(DOMAIN.replace("san &amp; more", name).encode()) is asks


def test_a_file_or_a_number_that_libvirt_never_writes(tmp_path):
    for encoding in ("utf-7", "rot13", "none"):
        (tmp_path / "a.xml").write_text(f"<?xml version='1.0' encoding='{encoding}'?>{POOL[270:]}")
        assert pools.find("a", (tmp_path,)) is None
    assert pools.find("a\0b", (tmp_path,)) is None
    pool = pools.Pool("p", TARGET, "10.77.1.1", "9" * 5000)
    assert pool.portal is None
    assert pools.Pool("p", TARGET, "10.77.1.1", "3260").link("unit:0:0:" + "9" * 5000) is None
