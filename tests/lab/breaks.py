"""What can be wrong with a host, each thing alone: how it is done, and what doctor is to say."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.lab import machine, san

HOOK = "/etc/libvirt/hooks/qemu.d/50-kvmlun"
NAME = "/etc/iscsi/initiatorname.iscsi"
FOLDER = "/var/lib/lab/aside"
OPENER = "lab-opener"


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


def _instead(path: str, script: str) -> tuple[str, str]:
    """Put a script in the place of a program, which goes on running where it runs."""
    made = f"{FOLDER}/{Path(path).name}"
    write = f"printf '#!/bin/sh\\n{script}\\n' >{made}; chmod 755 {made}"
    return f"{write}; mount --bind {made} {path}", f"umount {path}; rm {made}"


def _rules(file: str) -> tuple[str, str]:
    mask = f"/etc/udev/rules.d/{file}"
    reload = "udevadm control --reload"
    return f"ln -s /dev/null {mask}; {reload}", f"rm {mask}; {reload}"


_UNITS = "kvmlund.socket kvmlund"
_STOP = "/etc/systemd/system/open-iscsi.service.d"
_MADE = "InitiatorName=iqn.1993-08.org.debian:01:313e24299ef\\n"
_CLONED = f"touch -d 2020-01-01 {NAME}"
_BAD = "/etc/kvmlun/volumes.d/bad.yaml"

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
        "hook", "which fails", *_instead("/usr/sbin/kvmlun-hook", "echo oh no >&2; exit 1")
    ),
    "no iscsid socket": Break(
        "iscsid", "nor its socket",
        "systemctl stop iscsid.socket iscsid", "systemctl start iscsid.socket",
    ),
    "iscsid not running": Break(
        "iscsid", "does not run", "systemctl stop iscsid", "systemctl start iscsid", lun=True
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
        "versions", "2.1.10", *_instead("/usr/sbin/iscsid", "echo iscsid version 2.1.10")
    ),
    "open-iscsi stops all": Break(
        "open-iscsi", "logout-all.sh",
        f"mkdir -p {_STOP}; printf '[Service]\\nExecStop=\\nExecStop=/lib/open-iscsi/logout-all.sh"
        f"\\n' >{_STOP}/zz.conf; systemctl daemon-reload",
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
    "mdadm": Break("mdadm", "DEVICE partitions", *_aside("/etc/mdadm/mdadm.conf.d")),
    "multipath": Break(
        "multipath", "not blacklisted", *_aside("/etc/multipath/conf.d/kvmlun.conf")
    ),
    "clock": Break("clock", "not synchronized", "lab-clock 20", "lab-clock 0"),
}  # fmt: skip


@contextlib.contextmanager
def broken(host: machine.Machine, what: Break, **names: str) -> Iterator[None]:
    """Break one thing of a host, and mend it at the end; `names` are those in its lines."""
    try:
        host.run(f"set -e; mkdir -p {FOLDER}; {_filled(what.do, names)}")
        yield
    finally:
        host.run(_filled(what.undo, names))


def session(host: machine.Machine, lun: san.Volume) -> str:
    """Return the folder of a LUN's session in sysfs."""
    file = host.run(f"grep -lx {lun.iqn} /sys/class/iscsi_session/*/targetname").out.strip()
    return file.removesuffix("/targetname")


def _filled(line: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        line = line.replace(f"{{{name}}}", value)
    return line
