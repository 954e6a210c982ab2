"""What can be wrong with a host, each thing alone: how it is done, and what doctor is to say."""

import dataclasses
from pathlib import Path

HOOK = "/etc/libvirt/hooks/qemu.d/50-kvmlun"
NAME = "/etc/iscsi/initiatorname.iscsi"
FOLDER = "/var/lib/lab/aside"


@dataclasses.dataclass(frozen=True)
class Break:
    """`told` is a part of the cause that the finding of `check` is to have.

    `do` and `undo` are lines for the shell. Where `lun`, a LUN is here by kvmlun connect, and they
    may name {session}, its session's folder in sysfs.
    """

    check: str
    told: str
    do: str
    undo: str
    lun: bool = False


def _aside(path: str) -> tuple[str, str]:
    aside = f"{FOLDER}/{Path(path).name}"
    back = f"if [ -e {aside} ] || [ -L {aside} ]; then rm -rf {path}; mv {aside} {path}; fi"
    return f"mv {path} {aside}", back


def _name(text: str, then: str = "true") -> tuple[str, str]:
    take, give = _aside(NAME)
    return f"{take}; printf '{text}' >{NAME}; {then}", give


def instead(path: str, script: str, interpreter: str = "#!/bin/sh") -> tuple[str, str]:
    """Put a script in the place of a program, which goes on running where it runs."""
    made = f"{FOLDER}/{Path(path).name}"
    write = f"printf '{interpreter}\\n{script}\\n' >{made}; chmod 755 {made}"
    return f"{write}; mount --bind {made} {path}", f"umount {path}; rm {made}"


def _written(path: str, text: str) -> tuple[str, str]:
    """Write a file that was not there, or one in the place of that which was."""
    take, give = _aside(path)
    return f"test ! -e {path} || {{ {take}; }}; printf '{text}' >{path}", f"rm {path}; {give}"


def _rules(file: str) -> tuple[str, str]:
    mask = f"/etc/udev/rules.d/{file}"
    reload = "udevadm control --reload"
    return f"ln -s /dev/null {mask}; {reload}", f"rm {mask}; {reload}"


_UNITS = "kvmlund.socket kvmlund"
_STOP = "/etc/systemd/system/open-iscsi.service.d"
_MADE = "InitiatorName=iqn.1993-08.org.debian:01:313e24299ef\\n"
_CLONED = f"touch -d 2020-01-01 {NAME}"
_BAD = "/etc/kvmlun/volumes.d/bad.yaml"
_APART = "/run/systemd/system/kvmlund.service.d"
_ACCEPTS = "a|^/dev/disk/by-id/|"
_FILTER = f'devices {{\\n\\tglobal_filter = ["{_ACCEPTS}", "r|^/dev/kvmlun/|"]\\n}}\\n'
_MDADM, _MDADM_LINES = "/etc/mdadm/mdadm.conf", "/etc/mdadm/mdadm.conf.d"
_DEVICE, _AWAY = "DEVICE /dev/sd*", "ARRAY /dev/md/away UUID=1:2:3:4"
_MEMBER = "/dev/loop9"
_ARRAY = (
    f"modprobe loop; truncate -s 16M {FOLDER}/md; losetup {_MEMBER} {FOLDER}/md; "
    f"mdadm -q --create /dev/md/lab --run --force -l 1 -n 1 {_MEMBER}",
    f"mdadm -q --stop /dev/md/lab; losetup -d {_MEMBER}; rm {FOLDER}/md",
)
_EXCEPTION = 'blacklist_exceptions {\\n\\tproperty "^ID_BUS$"\\n}\\n'


def _and(*pairs: tuple[str, str]) -> tuple[str, str]:
    """Do one after the other, and undo the last one first."""
    return "; ".join(do for do, _ in pairs), "; ".join(undo for _, undo in reversed(pairs))


def _with(path: str, line: str) -> tuple[str, str]:
    """Add a line to a file."""
    return f"echo '{line}' >>{path}", f"sed -i '$d' {path}"


BREAKS = {
    "kvmlund down": Break(
        "kvmlund", "does not answer",
        f"systemctl mask --now --runtime {_UNITS}",
        f"systemctl unmask --runtime {_UNITS}; systemctl start {_UNITS}",
    ),
    "configuration not in force": Break(
        "kvmlund", "bad.yaml:1",
        f"echo nonsense: 1 >{_BAD}; ! systemctl reload kvmlund",
        f"rm {_BAD}; systemctl reload kvmlund",
    ),
    "libvirt out of kvmlund's reach": Break(
        "kvmlund", "can't ask libvirt",
        f"mkdir -p {_APART}; printf '[Service]\nInaccessiblePaths=/run/libvirt\n' "
        f">{_APART}/lab.conf; systemctl daemon-reload; systemctl restart kvmlund",
        f"rm -r {_APART}; systemctl daemon-reload; systemctl restart kvmlund",
    ),
    # As where the package was installed while libvirt could not be told of it.
    "hook not loaded": Break(
        "hook", "runs without",
        "; systemctl restart libvirtd; ".join(_aside(HOOK)),
        "systemctl restart libvirtd",
    ),
    "hook gone": Break("hook", "is not there", *_aside(HOOK)),
    "hook not executable": Break(
        "hook", "be executed",
        "chmod a-x /usr/sbin/kvmlun-hook", "chmod a+x /usr/sbin/kvmlun-hook",
    ),
    "hook broken": Break(
        "hook", "which fails", *instead("/usr/sbin/kvmlun-hook", "echo oh no >&2; exit 1")
    ),
    "hook without its program": Break(
        "hook", "the hook is broken", *_aside("/usr/lib/python3/dist-packages/kvmlun/hook.py")
    ),
    "hook that is no program": Break(
        "hook", "can't execute the hook", *instead("/usr/sbin/kvmlun-hook", "oh no", "")
    ),
    "no iscsid socket": Break(
        "iscsid", "nor its socket",
        "systemctl stop iscsid.socket iscsid", "systemctl start iscsid.socket",
    ),
    "iscsid not running": Break(
        "iscsid", "does not run", "systemctl stop iscsid", "systemctl start iscsid", lun=True
    ),
    "no file of initiator names": Break("initiator", "has no InitiatorName", *_aside(NAME)),
    "initiator name not made yet": Break(
        "initiator", "is not made yet", *_name("GenerateName=yes\\n")
    ),
    "no initiator name": Break("initiator", "has no InitiatorName", *_name("")),
    "two initiator names": Break(
        "initiator", "has 2 names",
        *_name("InitiatorName=iqn.2026-11.lab:a\\nInitiatorName=iqn.2026-11.lab:b\\n"),
    ),
    "malformed initiator name": Break(
        "initiator", "is no iSCSI name", *_name("InitiatorName=kvm1\\n")
    ),
    "example initiator name": Break(
        "initiator", "example", *_name("InitiatorName=iqn.2026-11.com.example:kvm1\\n")
    ),
    "initiator name of an image": Break("initiator", "an image", *_name(_MADE, _CLONED)),
    "initiator name changed": Break(
        "initiator", "is not the name of session",
        *_name("InitiatorName=iqn.2026-11.lab:new\\n"), lun=True,
    ),
    "open-iscsi 2.1.10": Break(
        "versions", "2.1.10", *instead("/usr/sbin/iscsid", "echo iscsid version 2.1.10")
    ),
    "open-iscsi stops all": Break(
        "open-iscsi", "logout-all.sh",
        f"mkdir -p {_STOP}; printf '[Service]\\nExecStop=\\nExecStop=/lib/open-iscsi/logout-all.sh"
        f"\\n' >{_STOP}/zz.conf; systemctl daemon-reload",
        f"rm -r {_STOP}; systemctl daemon-reload",
    ),
    "open-iscsi without our drop-in": Break(
        "open-iscsi", "logout-all.sh",
        f"mkdir -p {_STOP}; ln -s /dev/null {_STOP}/kvmlun.conf; systemctl daemon-reload",
        f"rm -r {_STOP}; systemctl daemon-reload",
    ),
    "short replacement": Break(
        "replacement", "lost for 3 s", "echo 3 >{session}/recovery_tmo",
        "echo 120 >{session}/recovery_tmo", lun=True,
    ),
    "udev's rules": Break("udev", "50-kvmlun.rules", *_rules("50-kvmlun.rules")),
    "udev's rules for maps": Break(
        "udev", "58-kvmlun-map.rules", *_rules("58-kvmlun-map.rules")
    ),
    "lvm": Break("lvm", "no filter rejects", *_aside("/etc/lvm/lvmlocal.conf")),
    "lvm's filter": Break(
        "lvm", f"the filter {_ACCEPTS} lets", *_written("/etc/lvm/lvmlocal.conf", _FILTER)
    ),
    "mdadm": Break("mdadm", "DEVICE partitions", *_aside(_MDADM_LINES)),
    "mdadm's devices": Break("mdadm", f"{_DEVICE} has them", *_with(_MDADM, _DEVICE)),
    "an array that does not run": Break(
        "mdadm", "not all arrays of its ARRAY lines",
        *_and(_aside(_MDADM_LINES), _with(_MDADM, _AWAY)),
    ),
    "an array whose member has no lasting name": Break(
        "mdadm", f"{_MEMBER} may have another name", *_and(_ARRAY, _aside(_MDADM_LINES))
    ),
    "an array whose member is left out": Break("mdadm", f"leaves out {_MEMBER}", *_ARRAY),
    "multipath": Break(
        "multipath", "not blacklisted", *_aside("/etc/multipath/conf.d/kvmlun.conf")
    ),
    "multipath's exceptions": Break(
        "multipath", '"^ID_BUS$" in blacklist_exceptions',
        *_written("/etc/multipath/conf.d/zz.conf", _EXCEPTION),
    ),
    "clock": Break("clock", "not synchronized", "lab-clock 20", "lab-clock 0"),
}  # fmt: skip

# What keeps a check from being made.
UNKNOWN = (
    Break("hook", "virsh", "chmod a-x /usr/bin/virsh", "chmod a+x /usr/bin/virsh"),
    Break("versions", "iscsid --version", *instead("/usr/sbin/iscsid", "exit 1")),
    Break("open-iscsi", "systemctl show", *instead("/usr/bin/systemctl", "exit 1")),
    Break(
        "udev", "did not handle an event",
        "kill -STOP $(pgrep -o -x systemd-udevd)", "kill -CONT $(pgrep -o -x systemd-udevd)",
    ),
    Break("lvm", "lvmconfig", *instead("/usr/sbin/lvm", "exit 1")),
    Break("multipath", "multipath -t", *instead("/usr/sbin/multipath", "exit 1")),
    Break("clock", "timedatectl", *instead("/usr/bin/timedatectl", "exit 1")),
)  # fmt: skip
