"""Acting with open-iscsi: login and logout. Reading is sysfs.py's part."""

from __future__ import annotations

import logging

from . import commands, errors, loginprobe
from .lun import Portal

log = logging.getLogger("kvmlun.iscsi")

# open-iscsi include/iscsi_err.h
_SESSION_EXISTS = 15
_ALREADY_GONE = (2, 21, 22)
_PROBE_SECONDS = 1.0
_UNREACHABLE = (4, 8)
_AUTHENTICATION = 24
_REFUSED = (5, 19, _AUTHENTICATION)
_MEANING = {
    4: "cannot connect to the portal",
    5: "the target refused the login",
    6: "the node database is locked or broken; see /run/lock/iscsi",
    8: "the portal does not answer",
    11: "the target does not answer",
    12: "the kernel module iscsi_tcp is not loaded",
    18: "iscsid does not answer; start iscsid.socket",
    19: "the target refused the login for good, or its answer makes no sense",
    20: "iscsid is not running; start iscsid.socket",
    21: "no such node record",
    24: "the target refused the secret or the initiator name",
}


async def login(target: str, portal: Portal, secret: str = "") -> None:
    """Log in and return when iscsid says that it is done, however long that takes.

    `secret` is the name of the credentials in the node record, for an error's text.

    Nobody can take back what iscsid was asked for, so this must be waited for.

    A session that exists is no error, but may still be on its way: iscsid
    lists it from the moment the login starts, so the caller looks at its state.
    Raises errors.NoAnswer where the portal does not answer, errors.Storage
    with the target's own reason where there is one.
    """
    iface = portal.iface or "default"
    args = ["iscsiadm", "-m", "node", "-T", target, "-p", portal.address, "-I", iface, "--login"]
    result = await commands.run(args)
    where = f"{target} at {portal}"
    if result.code in _UNREACHABLE:
        if cause := await loginprobe.unreachable(portal, _PROBE_SECONDS):
            raise errors.NoAnswer(f"{where}: {cause}")
    if result.code in _REFUSED + _UNREACHABLE:
        cause = await loginprobe.refusal(target, portal, _PROBE_SECONDS)
        if secret and (result.code == _AUTHENTICATION or cause == loginprobe.WANTS_CHAP):
            raise errors.Storage(
                f"{where}: the target refuses secret {secret}, or does not know its username_in; "
                f"compare /etc/kvmlun/secrets/{secret} with what the array has for this host"
            )
        raise errors.Storage(f"{where}: {cause or _MEANING[result.code]}")
    _check(result, f"login to {where}", (_SESSION_EXISTS,))


async def answers(portal: Portal) -> bool:
    """Tell, within a second, whether a portal can be reached."""
    return not await loginprobe.unreachable(portal, _PROBE_SECONDS)


async def probe(target: str, portal: Portal) -> None:
    """Raise errors.NoAnswer, within a second, where the portal does not answer."""
    if cause := await loginprobe.unreachable(portal, _PROBE_SECONDS):
        raise errors.NoAnswer(f"{target} at {portal}: {cause}")


async def group(target: str, portal: Portal) -> int:
    """Return the tag of a portal's group; where it is not told any will do.

    iscsid takes the tag that the target tells at the login (usr/login.c), and looks for a
    session's record by it only when it is restarted.
    """
    tag = await loginprobe.group(target, portal, _PROBE_SECONDS)
    return 1 if tag is None else tag


async def logout(sid: int) -> None:
    """End the session `sid`, to be waited for like a login; raises errors.Storage.

    Ids are never used twice, so no newer session can be hit.
    """
    args = ["iscsiadm", "-m", "session", "-r", str(sid), "--logout"]
    result = await commands.run(args)
    _check(result, f"log out of session {sid}", _ALREADY_GONE)


def _check(result: commands.Result, what: str, fine: tuple[int, ...]) -> None:
    if result.code == 0 or result.code in fine:
        return
    meaning = _MEANING.get(result.code) or result.err or "failed"
    raise errors.Storage(f"{what}: {meaning} (iscsiadm exit code {result.code})")
