"""Values that come from outside: names, links, addresses."""

import pytest

from kvmlun import errors
from kvmlun.lun import LunAddress, Portal, Wwid, id_path, parse_by_path, parse_lun, parse_target

from .worlds import BY_PATH

NAA6 = "6001405a1b2c3d4e5f60718293a4b5c6"


def test_a_wwid_names_its_multipath_map():
    assert Wwid.parse(f"naa.{NAA6}").map_uuid == f"mpath-3{NAA6}"
    assert Wwid.parse("eui.0123456789abcdef").map_uuid == "mpath-20123456789abcdef"
    assert Wwid.parse("t10.vendor disk").map_uuid is None


@pytest.mark.parametrize(
    "link, wwid",
    [
        (f"/dev/disk/by-id/wwn-0x{NAA6}", f"naa.{NAA6}"),
        (f"/dev/disk/by-id/scsi-3{NAA6}", f"naa.{NAA6}"),
        (f"/dev/disk/by-id/dm-uuid-mpath-3{NAA6}", f"naa.{NAA6}"),
        ("/dev/disk/by-id/scsi-20123456789abcdef", "eui.0123456789abcdef"),
        ("/dev/disk/by-id/wwn-0x5000c500a1b2c3d4", "naa.5000c500a1b2c3d4"),
    ],
)
def test_by_id_links_spell_a_wwid(link, wwid):
    assert str(Wwid.from_link(link)) == wwid


@pytest.mark.parametrize(
    "name",
    ["ata-QEMU_HARDDISK_1", "scsi-SLIO-ORG_disk_1", "scsi-1LIO", f"wwn-0x{NAA6}-part1", "wwn-0x12"],
)
def test_other_by_id_links_spell_none(name):
    assert Wwid.from_link(f"/dev/disk/by-id/{name}") is None


@pytest.mark.parametrize("text", [f"naa.{NAA6}", f"NAA.{NAA6.upper()}"])
def test_a_wwid_leads_to_the_link_that_spells_it(text):
    wwid = Wwid.parse(text)
    assert Wwid.from_link(wwid.link) == wwid


@pytest.mark.parametrize(
    "text", ["", "naa.", "naa.7001", f"naa.{NAA6}0", "eui.xyz", "t10.", "t10.\n"]
)
def test_malformed_wwids_are_refused(text):
    with pytest.raises(errors.Invalid):
        Wwid.parse(text)


@pytest.mark.parametrize(
    "text, portal",
    [
        ("10.0.0.1", Portal("10.0.0.1", 3260)),
        ("10.0.0.1:3261", Portal("10.0.0.1", 3261)),
        ("fd77::1", Portal("fd77::1", 3260)),
        ("[fd77::1]:860", Portal("fd77::1", 860)),
        ("[FD77:0::1]", Portal("fd77::1", 3260)),
    ],
)
def test_portals(text, portal):
    assert Portal.parse(text) == portal
    assert Portal.parse(str(portal)) == portal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "san.example.com",
        "10.0.0.1:0",
        "10.0.0.1:65536",
        "10.0.0.1:x",
        "fe80::1%eth0",
        "-p",
        "10.0.0.1\n",
        "10.0.0.1:3260\n",
        "[fd00::1]:" + "9" * 5000,
    ],
)
def test_malformed_portals_are_refused(text):
    with pytest.raises(errors.Invalid):
        Portal.parse(text)


# Links as udev 252 made them in the lab.
@pytest.mark.parametrize(
    "portal, lun, name",
    [
        ("10.77.1.1", 0, "ip-10.77.1.1:3260-iscsi-iqn.2026-11.io.x:a-lun-0"),
        ("fd77:1::1", 255, "ip-fd77:1::1:3260-iscsi-iqn.2026-11.io.x:a-lun-255"),
        ("10.77.1.1", 300, "ip-10.77.1.1:3260-iscsi-iqn.2026-11.io.x:a-lun-0x012c000000000000"),
    ],
)
def test_by_path_links_there_and_back(portal, lun, name):
    parsed = parse_by_path(f"/dev/disk/by-path/{name}")
    assert parsed is not None
    assert parsed.address == LunAddress("iqn.2026-11.io.x:a", lun)
    assert parsed.portals == (Portal(portal),)
    address = parsed.address
    spelled = [id_path(Portal(portal), address.target, n) for n in address.kernel_luns]
    assert name in spelled


def test_a_flat_lun_number_in_a_link_means_the_same_lun():
    link = "ip-10.0.0.1:3260-iscsi-iqn.2026-11.io.x:a-lun-0x412c000000000000"
    parsed = parse_by_path(link)
    assert parsed and parsed.address.lun == 300


def test_other_by_path_links_are_not_ours():
    assert parse_by_path("/dev/disk/by-path/pci-0000:00:1f.2-ata-1") is None


@pytest.mark.parametrize("tail", ["-lun-0-part1", "-lun-", "-lun-x", "/../../x-lun-0"])
def test_malformed_iscsi_links_are_refused(tail):
    with pytest.raises(errors.Invalid):
        parse_by_path(f"/dev/disk/by-path/ip-10.0.0.1:3260-iscsi-iqn.2026-11.io.x:a{tail}")


@pytest.mark.parametrize(
    "name",
    ["iqn.2026-11.x:".ljust(223, "a"), "iqn.2026-11.COM.Example:VM_1", "eui.0123456789ABCDEF"],
)
def test_target_names_are_kept_as_they_are(name):
    assert parse_target(name) == name


@pytest.mark.parametrize("name", ["iqn.2026-11.x:".ljust(224, "a"), "iqn.x", "-T", "..", ""])
def test_malformed_target_names_are_refused(name):
    with pytest.raises(errors.Invalid):
        parse_target(name)


# The last one is a K to case folding.
@pytest.mark.parametrize(
    "sign", ["/", "/../", "\n", "\0", " ", "$(x)", ";", "'", '"', "\x1b", "ä", "\u212a"]
)
def test_no_target_name_has_signs_that_shells_paths_or_logs_take_for_more(sign):
    for name in (f"iqn.2026-11.x:a{sign}", f"iqn.2026-11.x:{sign}a", f"{sign}iqn.2026-11.x:a"):
        with pytest.raises(errors.Invalid):
            parse_target(name)


@pytest.mark.parametrize("value", [-1, 16384, True, "1 ", "", None, 1.0])
def test_malformed_lun_numbers_are_refused(value):
    with pytest.raises(errors.Invalid):
        parse_lun(value)


@pytest.mark.parametrize("letter", ["\u017f", "\u212a"])
def test_letters_that_only_look_like_ascii_in_any_case_are_in_no_name(letter):
    """re.IGNORECASE takes them for s and k."""
    with pytest.raises(errors.Invalid):
        parse_target(f"iqn.2026-11.com.example:{letter}")
    assert parse_by_path(BY_PATH.replace("-iscsi-", f"-i{letter}csi-")) is None
    with pytest.raises(errors.Invalid):
        parse_by_path(BY_PATH.replace("-lun-0", f"{letter}-lun-0"))


@pytest.mark.parametrize("text", ["10.0.0.1:" + "9" * 5000, "x" * 5000, "\n" * 5000])
def test_a_long_text_is_refused_in_a_short_line(text):
    """Python refuses by itself to make a number of more than 4300 digits."""
    for parse in (Portal.parse, Wwid.parse, parse_target, parse_lun):
        with pytest.raises(errors.Invalid) as refusal:
            parse(text)
        assert len(str(refusal.value)) < 300 and str(refusal.value).isprintable()


def test_a_number_in_capitals_is_the_same_number():
    lun = parse_by_path(BY_PATH.replace("-lun-0", "-lun-0X4101000000000000"))
    assert lun.address.lun == 0x101
