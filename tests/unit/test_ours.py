"""Which LUN a source link means: catalog, metadata, the link, what is here."""

import dataclasses

import pytest

from kvmlun import errors, links
from kvmlun.domxml import Disk, Domain
from kvmlun.lun import Portal
from kvmlun.ours import Sources

from .worlds import BY_PATH, LUN, OTHER_WWID, UUID, WWID

CATALOG = dataclasses.replace(LUN, volume="vm1", size=None)


def luns(*found_links, metadata=(), catalog=None, present=None, overlays=False, allows=None):
    """Resolve the links of a domain; none of them exists on this machine."""
    disks = tuple(Disk("vda", (link,), False, False) for link in found_links)
    allows = allows or (lambda _portal: True)
    sources = Sources(
        lambda _: catalog, lambda _: catalog, lambda _: present, allows, lambda _, told: bool(told)
    )
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
    with pytest.raises(errors.Refused, match="find out which is right"):
        luns(BY_PATH, metadata=[other], catalog=CATALOG)


def at_its_address(catalog, *, allowed):
    """Know of a volume by its address only."""
    return Sources(
        lambda _: None, lambda _: catalog, lambda _: None, lambda _: allowed,
        lambda _, told: bool(told),
    )  # fmt: skip


def test_metadata_and_another_volume_at_its_address_are_refused():
    catalog = dataclasses.replace(CATALOG, wwid=OTHER_WWID)
    disks = (Disk("vda", (WWID.link,), False, False),)
    sources = at_its_address(catalog, allowed=True)
    with pytest.raises(errors.Refused, match=f"{OTHER_WWID} in /etc/kvmlun"):
        sources.luns(Domain(UUID, "vm1", disks, (LUN,), False))


def test_what_runs_is_told_whatever_was_configured_since():
    catalog = dataclasses.replace(CATALOG, wwid=OTHER_WWID)
    disks = (Disk("vda", (BY_PATH,), False, False),)
    sources = at_its_address(catalog, allowed=False)
    domain = Domain(UUID, "vm1", disks, (LUN,), False)
    with pytest.raises(errors.Refused):
        sources.luns(domain)
    assert [lun for _, _, lun in sources.running(domain)] == [LUN]


def test_a_known_disk_is_ours_wherever_its_link_leads(monkeypatch):
    monkeypatch.setattr(links, "judge", lambda _link: links.LOCAL)
    assert luns(WWID.link, catalog=CATALOG) == [CATALOG]
    assert luns(WWID.link, metadata=[LUN]) == [LUN]
    assert luns(WWID.link) == []


def test_a_session_made_by_hand_serves_as_well(monkeypatch):
    monkeypatch.setattr(links, "judge", lambda _link: links.OURS)
    assert luns(WWID.link, present=LUN) == [LUN]


def test_a_link_that_not_every_host_makes_is_refused(monkeypatch):
    link = "/dev/disk/by-id/scsi-SLIO-ORG_vm1_1234"
    assert luns(link) == []
    monkeypatch.setattr(links, "judge", lambda _link: links.OURS)
    with pytest.raises(errors.Refused, match="use its wwn- link"):
        luns(link)
    with pytest.raises(errors.Refused, match=f"use {WWID.link} in"):
        luns(link, present=LUN)


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


HOSTILE = Portal("10.66.0.1")
STRAY = dataclasses.replace(LUN, portals=(HOSTILE,))
STRAY_PATH = BY_PATH.replace("10.77.1.1", HOSTILE.host)


def no_hostile(portal):
    return portal.host != HOSTILE.host


@pytest.mark.parametrize(
    "found_links, known",
    [
        ((WWID.link,), {"metadata": [STRAY]}),
        ((WWID.link.replace("wwn-0x", "scsi-3"),), {"metadata": [STRAY]}),
        ((STRAY_PATH,), {}),
        ((STRAY_PATH,), {"metadata": [STRAY]}),
        ((STRAY_PATH,), {"catalog": CATALOG}),
        ((), {"metadata": [dataclasses.replace(STRAY, overlay=True)], "overlays": True}),
    ],
)
def test_a_portal_that_is_not_allowed_is_refused_from_wherever_it_comes(found_links, known):
    assert [lun.portals for lun in luns(*found_links, **known)] == [(HOSTILE,)]
    with pytest.raises(errors.Refused, match="^/dev/disk/.*: 10.66.0.1:3260 .*settings.portals"):
        luns(*found_links, **known, allows=no_hostile)


def test_the_portals_that_are_allowed_are_used():
    both = dataclasses.replace(LUN, portals=(HOSTILE, *LUN.portals))
    assert luns(WWID.link, metadata=[both], allows=no_hostile) == [LUN]


def test_a_lun_that_is_here_is_used_by_allowed_portals_only(monkeypatch):
    monkeypatch.setattr(links, "judge", lambda _link: links.OURS)
    with pytest.raises(errors.Refused, match="settings.portals"):
        luns(WWID.link, present=STRAY, allows=no_hostile)


def test_the_catalogs_portals_win_and_its_secret_goes_to_them_only():
    catalog = dataclasses.replace(CATALOG, secret="s")
    (found,) = luns(WWID.link, metadata=[STRAY], catalog=catalog)
    assert (found.portals, found.secret) == (LUN.portals, "s")
    below = dataclasses.replace(STRAY, overlay=True)
    (found,) = luns(metadata=[below], catalog=catalog, overlays=True)
    assert (found.portals, found.secret) == (LUN.portals, "s")
    (found,) = luns(STRAY_PATH, metadata=[STRAY], catalog=catalog)
    assert (found.portals, found.secret) == ((HOSTILE,), None)


def test_disks_have_an_end():
    assert len(luns(*[BY_PATH] * 1000, catalog=CATALOG)) == 1000
    with pytest.raises(errors.Refused, match="more than 1000"):
        luns(*[BY_PATH] * 1001, catalog=CATALOG)
