"""Whether LVM, mdadm and multipath, as they are configured, leave guests' disks alone.

udev's rules keep these tools from being started for such a disk, but a command that looks at
every disk there is goes by its own configuration. Pure: texts in, findings out.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from .finding import Finding

LVM_CONF = "/etc/lvm/lvmlocal.conf"
MDADM_CONF = "/etc/mdadm/mdadm.conf.d/kvmlun.conf"
MULTIPATH_CONF = "/etc/multipath/conf.d/kvmlun.conf"

FOLDER = "/dev/kvmlun/"
ONE_PATH = "ID_KVMLUN_ONE_PATH"

# What guests' disks and multipath maps are called: an example of each name that udev makes.
_DISKS = tuple(
    (
        f"/dev/{name}",
        "/dev/disk/by-id/scsi-36001405ffffffffffffffffffffffffff",
        "/dev/disk/by-id/wwn-0x6001405ffffffffffffffffffffffffff",
        "/dev/disk/by-path/ip-192.0.2.1:3260-iscsi-iqn.2026-11.com.example:vm1-lun-0",
        f"{FOLDER}{name}",
    )
    for name in ("sdzz", "sdaa")
)
_MAP = (
    "/dev/dm-99",
    "/dev/mapper/36001405ffffffffffffffffffffffffff",
    "/dev/disk/by-id/dm-name-36001405ffffffffffffffffffffffffff",
    "/dev/disk/by-id/dm-uuid-mpath-36001405ffffffffffffffffffffffffff",
    "/dev/disk/by-id/scsi-36001405ffffffffffffffffffffffffff",
    "/dev/disk/by-id/wwn-0x6001405ffffffffffffffffffffffffff",
    f"{FOLDER}dm-99",
)
# The first of its udev properties, in the order in which multipath looks at them.
_PROPERTIES = ("DEVLINKS", "DEVNAME", "DEVPATH", "DEVTYPE", "DISKSEQ", "ID_BUS", ONE_PATH)


def lvm_settings(text: str) -> dict[str, list[str]]:
    """Read what ``lvmconfig`` prints: it escapes quotes, and nothing else."""
    settings = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        quoted = re.findall(r'"((?:\\"|[^"])*)"', value)
        settings[key] = [each.replace('\\"', '"') for each in quoted] or [value]
    return settings


def lvm(settings: Mapping[str, list[str]], devices_file: bool) -> Finding | None:
    """Judge the settings of lvm.conf's section devices; `devices_file` tells whether it is there.

    LVM takes the devices file for its filters where there is one (lvm2 lib/filters/filter-regex.c).
    """
    if settings["use_devicesfile"] == ["1"] and devices_file:
        return None
    present = settings["global_filter"]
    both = (settings["filter"], present)
    if all(any(_rejected(names, patterns) for patterns in both) for names in (*_DISKS, _MAP)):
        return None
    ours = f"r|^{FOLDER}|"
    # Accepting at the end what no pattern matches does nothing but let our link's device in.
    kept = [p for i, p in enumerate(present) if not (i == len(present) - 1 and _is_any(p))]
    wanted = [ours, *(pattern for pattern in kept if pattern != ours)]
    cause = "pvs, vgchange and the like use what is on guests' disks: no filter rejects these"
    for names in (*_DISKS, _MAP):
        if pattern := _accepting(names, wanted):
            cause = f"the filter {pattern} lets pvs, vgchange and the like use guests' disks"
            remedy = (
                f"write it so that it matches this host's own only (guests' have {FOLDER}…), "
                f"and put {ours} first"
            )
            return Finding("lvm", cause, LVM_CONF, remedy=remedy)
    lines = ("devices {", f"\tglobal_filter = {json.dumps(wanted, ensure_ascii=False)}", "}")
    return Finding("lvm", cause, LVM_CONF, lines, _put(LVM_CONF))


def _put(file: str) -> str:
    return f"put into {file}, in place of what it says of this now"


def _rejected(names: Iterable[str], patterns: Sequence[str]) -> bool:
    """LVM's rule: the first pattern that matches a name decides on it, one accepted name will do.

    A device of which no name is matched is accepted, too.
    """
    if _accepting(names, patterns):
        return False
    return any(_deciding(name, patterns) for name in names)


def _accepting(names: Iterable[str], patterns: Sequence[str]) -> str:
    found = (_deciding(name, patterns) for name in names)
    return next((pattern for pattern in found if pattern[:1] == "a"), "")


def _deciding(name: str, patterns: Sequence[str]) -> str:
    return next((pattern for pattern in patterns if _matches(pattern, name)), "")


def _matches(pattern: str, name: str) -> bool:
    """A pattern is a or r, a delimiter, LVM's own kind of regular expression, the delimiter."""
    try:
        return re.search(pattern[2:-1], name) is not None
    except re.error:
        return pattern[:1] == "a"  # not to be told here, so supposed to let guests' disks in


def _is_any(pattern: str) -> bool:
    return pattern[:1] == "a" and pattern[2:-1] in (".*", "^.*", ".*/", "")


def mdadm(
    files: Mapping[str, str], members: Sequence[Sequence[str]], running: int
) -> Finding | None:
    """Judge mdadm's configuration files, texts by name.

    `members` are the devices of this host's own arrays, of which some are `running`: the names of
    each, the one that stays over a boot first.
    """
    words = [(word, file) for file, text in files.items() for word in _device_words(text)]
    default = [] if words else [("partitions", MDADM_CONF)]
    taken = next((each for each in words + default if _admits(each[0])), None)
    if taken is None:
        admitted = {name for names in members for name in names for word, _ in words
                    if _meets(word, name)}  # fmt: skip
        out = [names[0] for names in members if not admitted & set(names)]
        cause = (
            f"DEVICE leaves out {', '.join(out)} of this host's own arrays, which will lack that "
            "at the next boot"
        )
        return Finding("mdadm", cause, words[-1][1], remedy="add it") if out else None
    cause = (
        f"mdadm --assemble --scan uses what is on guests' disks: DEVICE {taken[0]}"
        f"{'' if words else ', which is the default,'} has them, too"
    )
    defined = sum(len(re.findall(r"^arr\w*\s", text, re.I | re.M)) for text in files.values())
    if running < defined:
        cause += "; not all arrays of its ARRAY lines are running now"
        return Finding("mdadm", cause, taken[1], remedy="assemble them and ask again")
    moving = [names[0] for names in members if not names[0].startswith("/dev/disk/")]
    if moving:
        cause += f"; {', '.join(moving)} may have another name after a boot: find one that stays"
    # Debian's package has no such folder.
    folder = "" if words else f"mkdir -p {MDADM_CONF.rpartition('/')[0]}; "
    remedy = f"{folder}{_put(taken[1])}, and name each device there that you give an array later"
    line = " ".join(["DEVICE containers", *(names[0] for names in members)])
    return Finding("mdadm", cause, taken[1], (line,), remedy)


def arrays(mdstat: str) -> int:
    """Return how many arrays /proc/mdstat shows."""
    return len(re.findall(r"^md\S* : ", mdstat, re.M))


def members(mdstat: str) -> list[str]:
    """Return the kernel's names of the devices that arrays in /proc/mdstat are made of."""
    return sorted(set(re.findall(r"(\S+)\[\d+\]", mdstat)))


def _device_words(text: str) -> Iterator[str]:
    """mdadm.conf(5): a line that begins with a space goes on with the one before."""
    device = False
    for line in text.splitlines():
        words = re.sub(r"(^|\s)#.*", "", line).split()
        if words and not line[0].isspace():
            keyword = words.pop(0).lower()
            device = len(keyword) >= 3 and "devices".startswith(keyword)
        if device:
            yield from words


def _admits(word: str) -> bool:
    """Tell whether a word of a DEVICE line lets a guest's disk in."""
    if word.lower() == "partitions":
        return True
    return any(_meets(word, name) for name in itertools.chain(*_DISKS, _MAP))


def _meets(word: str, name: str) -> bool:
    """mdadm's rule: a glob in which no wildcard matches a slash (mdadm config.c, conf_test_dev)."""
    parts, names = word.split("/"), name.split("/")
    return len(parts) == len(names) and all(map(fnmatchcase, names, parts))


def multipath(config: str) -> Finding | None:
    """Judge what ``multipath -t`` prints.

    Of a disk's properties, in the order of their names, the first that an exception or the
    blacklist matches decides (multipath-tools libmultipath/blacklist.c, filter_property).
    """
    cause = "multipath takes guests' disks that are used by one path"
    for name in _PROPERTIES:
        if exception := _listed(config, "blacklist_exceptions", name, unsure=True):
            cause += (
                f': property "{exception}" in blacklist_exceptions lets them in by their {name}'
            )
            remedy = "write it so that it does not match that"
            return Finding("multipath", cause, "/etc/multipath.conf", remedy=remedy)
        if _listed(config, "blacklist", name, unsure=False):
            return None
    cause += ": they are not blacklisted"
    lines = ("blacklist {", f'\tproperty "^{ONE_PATH}$"', "}")
    return Finding("multipath", cause, MULTIPATH_CONF, lines, _put(MULTIPATH_CONF))


def _listed(config: str, section: str, name: str, *, unsure: bool) -> str:
    """Return the first property pattern of a section that matches a property.

    One that begins with ! matches what the rest of it does not (libmultipath/blacklist.c,
    check_invert). `unsure` is for one that can't be told here.
    """
    bodies = re.findall(rf"^{section} \{{$(.*?)^\}}$", config, re.M | re.S)
    patterns = [p for body in bodies for p in re.findall(r'^\s+property "(.*)"$', body, re.M)]
    return next((pattern for pattern in patterns if _lists(pattern, name, unsure)), "")


def _lists(pattern: str, name: str, unsure: bool) -> bool:
    wanted = not pattern.startswith("!")
    if "[:" in pattern:  # a POSIX class, which re does not have
        return unsure
    try:
        return bool(re.search(pattern.removeprefix("!"), name)) == wanted
    except re.error:
        return unsure
