"""Which LUN a source link means: catalog, metadata, the link, what is here."""

import dataclasses

import pytest

from kvmlun import errors, links
from kvmlun.domxml import Disk, Domain
from kvmlun.ours import Sources

from .worlds import BY_PATH, LUN, OTHER_WWID, UUID, WWID

CATALOG = dataclasses.replace(LUN, volume="vm1", size=None)


def luns(*found_links, metadata=(), catalog=None, present=None, overlays=False):
    """Resolve the links of a domain; none of them exists on this machine."""
    disks = tuple(Disk("vda", (link,), False, False) for link in found_links)
    sources = Sources(lambda _: catalog, lambda _: catalog, lambda _: present)
    domain = Domain(UUID, "vm1", disks, tuple(metadata), overlays)
    return [lun for _, _, lun in sources.luns(domain)]


def test_the_catalog_counts_first_and_the_known_size_with_it():
    elsewhere = dataclasses.replace(LUN, portals=(), size=1 << 20)
    assert luns(WWID.link, catalog=CATALOG) == [CATALOG]
    assert luns(WWID.link, metadata=[elsewhere], catalog=CATALOG) == [
        dataclasses.replace(CATALOG, size=1 << 20)
    ]


def test_metadata_serves_without_a_catalog():
    assert luns(WWID.link, metadata=[LUN]) == [LUN]


def test_what_is_below_an_overlay_stands_in_the_metadata_only():
    below = dataclasses.replace(LUN, overlay=True)
    assert luns(metadata=[below], overlays=True) == [below]
    assert luns(metadata=[below]) == []
    assert luns(metadata=[LUN], overlays=True) == [], "a disk that was taken out of the definition"
    assert luns(metadata=[below], catalog=CATALOG, overlays=True) == [
        dataclasses.replace(CATALOG, size=LUN.size)
    ]


def test_a_missing_link_that_nobody_knows_is_not_ours():
    assert luns(WWID.link) == []
    assert luns(OTHER_WWID.link, metadata=[LUN]) == []


def test_a_by_path_link_spells_its_lun_and_is_pinned_by_what_is_known():
    (spelled,) = luns(BY_PATH)
    assert spelled.wwid is None and spelled.address == LUN.address
    (pinned,) = luns(BY_PATH, metadata=[LUN])
    assert pinned.wwid == WWID and pinned.portals == spelled.portals


def test_catalog_and_metadata_that_disagree_are_refused():
    other = dataclasses.replace(LUN, wwid=OTHER_WWID)
    with pytest.raises(errors.Refused, match="correct the one that is wrong"):
        luns(BY_PATH, metadata=[other], catalog=CATALOG)


def test_a_session_made_by_hand_serves_as_well(monkeypatch):
    monkeypatch.setattr(links, "judge", lambda _link: links.OURS)
    assert luns(WWID.link, present=LUN) == [LUN]


def test_a_link_that_not_every_host_makes_is_refused(monkeypatch):
    link = "/dev/disk/by-id/scsi-SLIO-ORG_vm1_1234"
    assert luns(link) == []
    monkeypatch.setattr(links, "judge", lambda _link: links.OURS)
    with pytest.raises(errors.Refused, match="use the wwn- link"):
        luns(link)


def test_where_a_link_leads_is_read_from_sysfs(tmp_path, monkeypatch):
    devices = tmp_path / "devices/platform/host2/session1/target2:0:0/2:0:0:0/block/sda"
    plain = tmp_path / "devices/pci/host0/block/sdb"
    multipath = tmp_path / "devices/virtual/block/dm-0"
    for folder in (devices / "sda1", plain, multipath / "dm", multipath / "slaves/sda"):
        folder.mkdir(parents=True)
    (devices / "sda1/partition").write_text("1")
    (multipath / "dm/uuid").write_text("mpath-36001405")
    block = tmp_path / "class/block"
    block.mkdir(parents=True)
    for device in (devices, devices / "sda1", plain, multipath):
        (block / device.name).symlink_to(device)

    def judge(device):
        (tmp_path / device).touch()
        return links.judge(str(tmp_path / device), str(tmp_path))

    assert [judge(name) for name in ("sda", "dm-0")] == [links.OURS, links.OURS]
    assert [judge(name) for name in ("sda1", "sdb", "loop7")] == [links.LOCAL] * 3
    assert links.judge(str(tmp_path / "none"), str(tmp_path)) == links.UNSEEN


def test_disks_have_an_end():
    assert len(luns(*[BY_PATH] * 1000, catalog=CATALOG)) == 1000
    with pytest.raises(errors.Refused, match="more than 1000"):
        luns(*[BY_PATH] * 1001, catalog=CATALOG)
