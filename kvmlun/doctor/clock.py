"""This host's clock. Pure."""

from __future__ import annotations

from ..finding import Finding


def judge(synchronized: str) -> Finding | None:
    """Judge ``timedatectl show -p NTPSynchronized --value``."""
    if synchronized.strip() == "yes":
        return None
    cause = (
        "the clock is not synchronized, so the times of two hosts' journals, and since when a "
        "host holds a fenced LUN, can't be compared"
    )
    remedy = "apt install systemd-timesyncd (or chrony), and see that it reaches a server"
    return Finding("clock", cause, remedy=remedy)
