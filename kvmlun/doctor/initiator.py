"""open-iscsi on this host: its initiator name, its daemon, its version. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from .. import errors
from ..finding import Finding
from ..loginprobe import INITIATOR
from ..lun import parse_target

SOCKET = "@ISCSIADM_ABSTRACT_NAMESPACE"  # open-iscsi usr/mgmt_ipc.h
_ACCEPTS = "00010000"  # include/linux/net.h, __SO_ACCEPTCON, as /proc/net/unix shows it

_OWN = (
    f"write InitiatorName=iqn.YYYY-MM.DOMAIN:HOST into {INITIATOR}, let it in on the SAN, and "
    "systemctl restart iscsid; sessions take it at their next login"
)
# Documentation's: RFC 2606 keeps these domains, and iscsid's own hint is the last one.
_EXAMPLE = re.compile(r"iqn\.[0-9-]+\.(com|net|org)\.example\b|iqn\.2001-04\.com\.redhat:fc6$")
# What iscsi-iname makes for the packages of Debian, Red Hat and SUSE, and by itself.
_MADE = re.compile(
    r"iqn\.(1993-08\.org\.debian|1994-05\.com\.redhat|1996-04\.de\.suse"
    r"|2016-04\.com\.open-iscsi):"
)
# Versions that can't be used, with what they do: since, and mended in.
_BROKEN = (
    (
        (2, 1, 10),
        (2, 1, 11),
        "a login with node.session.scan=manual, which kvmlun uses, never ends "
        "(github.com/open-iscsi/open-iscsi/pull/485)",
    ),
)


def daemon(unix: str, runs: bool, sessions: int) -> Finding | None:
    """Judge /proc/net/unix, whether iscsid runs, and how many sessions there are for it."""
    sockets = (line.split() for line in unix.splitlines())
    if not any(row[-1:] == [SOCKET] and row[3] == _ACCEPTS for row in sockets if len(row) > 7):
        cause = "neither iscsid nor its socket is there, so nobody does what iscsiadm asks for"
        return Finding("iscsid", cause, remedy="systemctl enable --now iscsid.socket")
    if sessions and not runs:
        cause = f"iscsid does not run: who logs in {sessions} sessions again when they are lost?"
        return Finding("iscsid", cause, remedy="systemctl start iscsid")
    return None


def name(text: str, older_than_host: bool, used: Mapping[int, str]) -> Finding | None:
    """Judge initiatorname.iscsi: present, one, well-formed, and this host's alone.

    `older_than_host` tells that the file is from before this host got its machine-id, so came with
    an image that other hosts may be made of. `used` are the names of sessions by their ids.
    """
    found = list(_names(text))
    if not found:
        if re.search(r"^GenerateName=yes", text, re.M):
            cause = f"{INITIATOR}: the name is not made yet"
            return _finding(cause, "systemctl start iscsid makes it")
        return _finding(f"{INITIATOR} has no InitiatorName, so iscsid does not start")
    if len(set(found)) > 1:
        return _finding(f"{INITIATOR} has {len(set(found))} names: {', '.join(found)}")
    given = found[0]
    try:
        parse_target(given)
    except errors.Invalid:
        return _finding(f"{given[:230]!r} is no iSCSI name (RFC 7143, 4.2.7), so targets refuse it")
    if _EXAMPLE.match(given):
        return _finding(f"{given} is an example's name, which other hosts may have as well")
    if _MADE.match(given) and older_than_host:
        return _finding(
            f"{given} was made by the package before this host had its machine-id: it came with "
            "an image, and each host from that has it",
            f"{_OWN}; or touch {INITIATOR} if you know that no other host has it",
        )
    others = {sid: each for sid, each in used.items() if each and each != given}
    if others:
        sids, names = ", ".join(map(str, others)), ", ".join(sorted(set(others.values())))
        return _finding(
            f"{given} is not the name of session {sids}, which is {names}: it was changed since",
            "systemctl restart iscsid, then log out and in again what is not a VM's; a VM's "
            "session takes the new name when it is stopped and started, or migrated",
        )
    return None


def version(text: str) -> Finding | None:
    """Judge what ``iscsid --version`` prints."""
    match = re.search(r"version ([0-9]+)\.([0-9]+)\.([0-9]+)", text)
    if not match:
        raise errors.Storage(f"iscsid --version: no version in {text[:80]!r}")
    number = tuple(map(int, match.groups()))
    for since, mended, what in _BROKEN:
        if since <= number < mended:
            cause = f"open-iscsi {'.'.join(map(str, number))}: {what}"
            better = ".".join(map(str, mended))
            return Finding("versions", cause, remedy=f"upgrade open-iscsi to {better} or later")
    return None


def _names(text: str) -> Iterator[str]:
    """Yield the name in each line that has one; iscsid takes the first (usr/iscsi_util.c)."""
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "InitiatorName" and value.strip():
            yield value.strip()


def _finding(cause: str, remedy: str = _OWN) -> Finding:
    return Finding("initiator", cause, remedy=remedy)
