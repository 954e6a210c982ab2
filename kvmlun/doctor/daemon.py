"""What kvmlund says of itself, and of the reservations of the LUNs that are here. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..finding import Finding
from ..reservation import Host

# How reservation.Capabilities.text and survey.py begin where a LUN can't be fenced, or asked.
_LACKS, _UNKNOWN = "no ", "unknown: "


def silent(problem: str) -> Finding:
    """Tell of a kvmlund that does not answer."""
    cause = f"{problem}; VMs with an iSCSI disk start here, and arrive, only if it does"
    remedy = "systemctl start kvmlund.socket kvmlund; journalctl -u kvmlund says why it ended"
    return Finding("kvmlund", cause, remedy=remedy)


def judge(status: Mapping[str, Any]) -> Iterator[Finding]:
    """Judge what client.Client.status() returned, but for what targets say of reservations."""
    if problem := status["config_problem"]:
        yield Finding(
            "kvmlund",
            f"/etc/kvmlun is not in force as it is now: {problem}",
            remedy="kvmlun check shows every mistake; mend them, then systemctl reload kvmlund",
        )
    if problem := status["libvirt_problem"]:
        yield Finding(
            "kvmlund",
            f"kvmlund can't ask libvirt, so it logs nothing out: {problem}",
            remedy="systemctl status libvirtd (or virtqemud)",
        )
    for problem in status["suspended"]:
        yield Finding(
            "kvmlund",
            f"a VM waits for its own LUN: {problem}",
            remedy="it goes on by itself when the array shows the right LUN again "
            "(docs/right-disk.md)",
        )
    for problem in status["fencing_problems"]:
        yield _finding(problem, "docs/fencing.md says for each such line what to do")


def unasked(problem: str) -> Finding:
    """Tell of a kvmlund that answers, but not what targets say of reservations."""
    return Finding("reservations", problem, remedy="see kvmlun status", unknown=True)


def reservations(told: Iterable[Mapping[str, Any]], host: Host) -> Iterator[Finding]:
    """Judge what client.Client.reservations() returned, for what fencing needs of targets and of
    this host's name."""
    for each in told:
        if not each["fencing"]:
            continue
        name = each["volume"] or each["wwid"]
        if each["can"].startswith(_UNKNOWN):
            yield unasked(f"what the target of {name} can is {each['can']}")
        if each["can"].startswith(_LACKS):
            yield _finding(
                f"{name} is to be fenced, and its target has {each['can']}: the next start of its "
                "VM is refused",
                "give the VM a LUN of another array, or the volume fencing: false",
            )
        keys = [r["key"] for r in each["registrants"] if r["initiator"] == host.initiator]
        others = [key for key in keys if int(key, 16) >> 32 != host.id]
        if each["phase"] and others:
            yield _finding(
                f"another host uses {name} under this host's initiator name {host.initiator} "
                f"(key {', '.join(others)})",
                "give each host an initiator name of its own (/etc/iscsi/initiatorname.iscsi)",
            )


def _finding(cause: str, remedy: str) -> Finding:
    return Finding("reservations", cause, remedy=remedy)
