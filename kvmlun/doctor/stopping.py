"""What a stop or restart of open-iscsi.service does to VMs' sessions. Pure."""

from __future__ import annotations

import re

from ..finding import Finding

UNIT = "open-iscsi.service"
_KEEPS = "/usr/libexec/kvmlun/keep-sessions"
_LOGS_OUT = re.compile(r"logout-all|--logoutall|\s-U\b")


def judge(shown: str) -> Finding | None:
    """Judge what ``systemctl show -p LoadState -p ExecStop`` says of the unit as it is loaded.

    Its stop logs out of every session of the host, those of running VMs too, but for the ones that
    a step before has listed.
    """
    if "LoadState=loaded" not in shown.splitlines():
        return None
    kept = False
    for argv in re.findall(r"^ExecStop=\{.*? argv\[\]=(.*?) ; ", shown, re.M):
        kept = kept or argv == _KEEPS
        if _LOGS_OUT.search(argv) and not kept:
            cause = (
                f"a stop or restart of {UNIT} runs {argv} and so takes the disks away from VMs "
                "that run"
            )
            remedy = (
                f"systemctl cat {UNIT} shows which file in /etc/systemd/system takes the place of "
                "kvmlun.conf, or sets ExecStop after it: take it out, or put ExecStop="
                + _KEEPS
                + " before that; then systemctl daemon-reload"
            )
            return Finding("open-iscsi", cause, remedy=remedy)
    return None
