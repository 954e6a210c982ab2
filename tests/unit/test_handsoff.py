"""Which configurations of LVM, mdadm and multipath leave guests' disks alone."""

import json
import re
from pathlib import Path

import pytest

from kvmlun import handsoff

OURS = "r|^/dev/kvmlun/|"
DEFAULT = handsoff.lvm_settings(
    'use_devicesfile=0\nfilter=["a|.*|"]\nglobal_filter="a|.*|"\n',
)


def lvm(*patterns, devices_file=False, **settings):
    given = {"global_filter": list(patterns)} if patterns else {}
    return handsoff.lvm({**DEFAULT, **given, **settings}, devices_file)


def test_lvmconfigs_quotes():
    text = r"""global_filter=["r|x\"y|","a|sd[a-z]\.x|"]"""
    assert handsoff.lvm_settings(text) == {"global_filter": ['r|x"y|', r"a|sd[a-z]\.x|"]}


def proposed(finding):
    """The filter among the lines of a finding."""
    (line,) = [line for line in finding.lines if "global_filter" in line]
    return json.loads(line.partition(" = ")[2])


@pytest.mark.parametrize(
    "patterns",
    [
        [OURS],
        ["a|^/dev/disk/by-id/ata-|", "r|.*|"],
        ["a|^/dev/sda$|", "a|^/dev/md/|", OURS],
        ["r|^/dev/sd|", "r|^/dev/dm-|"],
    ],
)
def test_a_filter_that_keeps_lvm_off(patterns):
    assert lvm(*patterns) is None
    assert lvm(filter=patterns) is None


@pytest.mark.parametrize(
    "patterns, wanted",
    [
        (["a|.*|"], [OURS]),
        (["r|/dev/cdrom|"], [OURS, "r|/dev/cdrom|"]),
        (["r|/dev/cdrom|", "a|.*|"], [OURS, "r|/dev/cdrom|"]),
        # One accepted name lets a device in, also if ours is rejected.
        ([OURS, "a|.*|"], [OURS]),
        # A guest's single path is rejected, its map is not.
        (["r|^/dev/sd|"], [OURS, "r|^/dev/sd|"]),
        (["a|^/dev/sda$|"], [OURS, "a|^/dev/sda$|"]),
    ],
)
def test_a_filter_that_does_not_is_mended(patterns, wanted):
    finding = lvm(*patterns)
    assert finding.file == "/etc/lvm/lvmlocal.conf"
    assert proposed(finding) == wanted
    assert lvm(*wanted) is None


@pytest.mark.parametrize(
    "pattern", ["a|/dev/disk/|", "a|^/dev/sda|", "a|^/dev/dm-|", "a/sd/", "a|(?i|"]
)
def test_a_filter_that_only_the_operator_can_mend(pattern):
    finding = lvm(pattern, "r|.*|")
    assert pattern in finding.cause and not finding.lines


def test_lvms_devices_file_counts_where_it_is_there():
    assert lvm(use_devicesfile=["1"], devices_file=True) is None
    assert lvm(use_devicesfile=["1"], devices_file=False)
    assert lvm(use_devicesfile=["0"], devices_file=True)


MEMBERS = [["/dev/disk/by-id/ata-a-part1", "/dev/sda1"], ["/dev/sdb1"]]


def mdadm(*texts, members=()):
    return handsoff.mdadm({str(n): text for n, text in enumerate(texts)}, members, 1)


@pytest.mark.parametrize(
    "text",
    [
        "DEVICE containers",
        "dev /dev/sda1 /dev/disk/by-id/ata-*\n",
        "DEVICE /dev/sda1 # partitions\n   /dev/sdb1\n",
        "DEVICE /dev/*/by-partlabel/raid /dev/nvme*",
    ],
)
def test_device_lines_that_keep_mdadm_off(text):
    assert mdadm(text) is None


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["# DEVICE containers\nHOMEHOST <system>\n"],
        ["DEVICE partitions"],
        ["DEVICE containers", "devices\n  partitions"],
        ["DEVICE /dev/sd*"],
        ["DEVICE /dev/disk/by-path/*"],
        ["DEVICE /dev/*/by-id/wwn-*"],
        ["DEVICE /dev/mapper/3*"],
        ["DEVICE /dev/dm-*"],
    ],
)
def test_device_lines_that_do_not(texts):
    finding = mdadm(*texts, members=MEMBERS)
    # The file of the line that lets them in, or that of ours where there is none.
    given = re.search("^dev", "\n".join(texts), re.I | re.M)
    assert finding.file == (str(len(texts) - 1) if given else handsoff.MDADM_CONF)
    assert finding.lines == ("DEVICE containers /dev/disk/by-id/ata-a-part1 /dev/sdb1",)
    assert "/dev/sdb1 may have another name" in finding.cause
    assert mdadm(*finding.lines, members=MEMBERS) is None
    more = mdadm(*texts, "ARRAY /dev/md0 UUID=1\nARRAY /dev/md1 UUID=2", members=MEMBERS)
    assert not more.lines and "not all arrays" in more.cause


def test_a_file_of_its_own_gets_its_folder_first():
    assert mdadm("").remedy.startswith("mkdir -p /etc/mdadm/mdadm.conf.d; put into /etc/")
    assert mdadm("DEVICE partitions").remedy.startswith("put into 0,")


def test_a_member_that_no_device_line_lets_in():
    assert mdadm("DEVICE /dev/sda*\nDEVICE /dev/sdb?", members=MEMBERS)  # sdaa may be a guest's
    assert mdadm("DEVICE /dev/sda1 /dev/sdb?", members=MEMBERS) is None
    finding = mdadm("", "DEVICE /dev/sda1", members=MEMBERS)
    assert "leaves out /dev/sdb1" in finding.cause and finding.file == "1" and not finding.lines


def test_the_members_of_the_hosts_own_arrays():
    mdstat = (
        "Personalities : [raid1] [raid6] [raid5] [raid4]\n"
        "md127 : active (auto-read-only) raid1 sdb1[2](F) sda1[0]\n"
        "      31744 blocks super 1.2 [2/1] [U_]\n\n"
        "md1 : active raid5 nvme0n1p2[0] dm-3[1](S)\nunused devices: <none>\n"
    )
    assert handsoff.arrays(mdstat) == 2
    assert handsoff.members(mdstat) == ["dm-3", "nvme0n1p2", "sda1", "sdb1"]


BLACKLIST = """\
defaults {
	verbosity 2
}
blacklist {
	devnode "!^(sd[a-z]|dasd[a-z]|nvme[0-9])"
	property "^ID_KVMLUN_ONE_PATH$"
	device {
		vendor "SGI"
		product "Universal Xport"
	}
}
blacklist_exceptions {
	property "(SCSI_IDENT_|ID_WWN)"
}
"""


def test_multipaths_blacklist():
    assert handsoff.multipath(BLACKLIST) is None


@pytest.mark.parametrize(
    "old, new",
    [
        ('	property "^ID_KVMLUN_ONE_PATH$"\n', ""),
        # One of these is before ours, or is ours, and an exception.
        ("SCSI_IDENT_|", "SCSI_IDENT_|ID_BUS|"),
        ("SCSI_IDENT_|", "SCSI_IDENT_|ID_K|"),
    ],
)
def test_what_multipath_does_not_blacklist(old, new):
    finding = handsoff.multipath(BLACKLIST.replace(old, new))
    if new:
        assert new.rstrip("|") in finding.cause and finding.file == "/etc/multipath.conf"
    else:
        assert finding.file == "/etc/multipath/conf.d/kvmlun.conf" and finding.lines


@pytest.mark.parametrize(
    ("old", "new", "lets_in"),
    [
        # "!" turns a pattern round, so these are what does not have that name.
        ("^ID_KVMLUN_ONE_PATH$", "!ID_NOTHING", False),
        ("(SCSI_IDENT_|ID_WWN)", "!(ID_|D)", False),
        ("(SCSI_IDENT_|ID_WWN)", "!ID_NOTHING", True),
        ("(SCSI_IDENT_|ID_WWN)", "\\!ID_BUS", False),
        # What Python can't read is supposed to be what lets guests' disks in.
        ("(SCSI_IDENT_|ID_WWN)", "*ID_NOTHING", True),
        ("^ID_KVMLUN_ONE_PATH$", "*ID_", True),
        ("(SCSI_IDENT_|ID_WWN)", "^[[:alpha:]]+$", True),
        ("^ID_KVMLUN_ONE_PATH$", "[[:alpha:]_]", True),
    ],
)
def test_multipaths_patterns_are_not_pythons(old, new, lets_in):
    assert bool(handsoff.multipath(BLACKLIST.replace(old, new))) == lets_in


def test_the_package_brings_what_multipath_lacks():
    finding = handsoff.multipath("")
    shipped = (Path(__file__).parents[2] / "multipath/kvmlun.conf").read_text()
    assert shipped.endswith("".join(f"{line}\n" for line in finding.lines))
    assert handsoff.multipath(shipped) is None
