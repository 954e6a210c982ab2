"""What a /dev/disk link is, as far as this host can tell without asking anybody.

The hook runs this for every VM, so it imports nothing but os.
"""

import os

BY_ID = "/dev/disk/by-id/"
BY_PATH = "/dev/disk/by-path/"

OURS, LOCAL, UNSEEN = "iSCSI", "not iSCSI", "a link that does not exist"

# How by-id names that spell a WWID begin, and what the WWID begins with (scsi_id(8)); the last two
# are scsi_id's text behind multipath's prefix.
_SPELLED = (
    ("wwn-0x", "naa."),
    ("scsi-3", "naa."),
    ("scsi-2", "eui."),
    ("dm-uuid-mpath-3", "naa."),
    ("dm-uuid-mpath-2", "eui."),
)


def spelled(link: str) -> str:
    """Return the WWID that a by-id link spells, "" where the name carries none."""
    name = link.removeprefix(BY_ID)
    for prefix, kind in _SPELLED:
        if name.startswith(prefix):
            return kind + name[len(prefix) :].lower()
    return ""


def judge(link: str, sys: str = "/sys") -> str:
    """Return OURS, LOCAL or UNSEEN, by the link's name and by the device it leads to.

    Partitions and device mapper maps other than multipath's are not ours.
    """
    if link.startswith(BY_PATH):
        name = link[len(BY_PATH) :]
        partition = "-part" in name and name.rpartition("-part")[2].isdigit()
        return OURS if name.startswith("ip-") and "-iscsi-" in name and not partition else LOCAL
    if not os.path.exists(link):
        return UNSEEN
    return OURS if _iscsi(os.path.basename(os.path.realpath(link)), sys) else LOCAL


def _iscsi(device: str, sys: str) -> bool:
    path = f"{sys}/class/block/{device}"
    if "/session" in os.path.realpath(path):
        return not os.path.exists(f"{path}/partition")
    try:
        with open(f"{path}/dm/uuid") as file:
            multipath = file.read().startswith("mpath-")
        leaves = os.listdir(f"{path}/slaves") if multipath else []
    except OSError:
        return False
    return any(_iscsi(leaf, sys) for leaf in leaves)
