"""Acting with open-iscsi: node records, login, logout. Reading is sysfs.py's part."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from . import commands, errors, nodedb
from .lun import Portal

log = logging.getLogger("kvmlun.iscsi")

# open-iscsi include/iscsi_err.h
_SESSION_EXISTS = 15
_ALREADY_GONE = (2, 21, 22)
_MEANING = {
    4: "cannot connect to the portal",
    5: "the target refused the login",
    6: "the node database is locked or broken; see /run/lock/iscsi",
    8: "the portal does not answer",
    11: "the target does not answer",
    12: "the kernel module iscsi_tcp is not loaded",
    18: "iscsid does not answer; start iscsid.socket",
    19: "the target refused the login for good",
    20: "iscsid is not running; start iscsid.socket",
    21: "no such node record",
    24: "the target refused the secret or the initiator name",
}


async def create_record(
    target: str, portal: Portal, settings: Mapping[str, str], timeout: float
) -> None:
    """Make a node record with `settings` on top of the host's defaults.

    Must not be called where a record exists: ``-o new`` would replace it
    (usr/iscsiadm.c, add_static_rec). Raises errors.Storage or errors.Timeout.
    """
    await _iscsiadm("node", target, portal, "--op", "new", timeout=timeout)
    records = nodedb.records(target, portal)
    if not records:
        raise errors.Storage(f"iscsiadm made no node record for {target} at {portal}")
    for record in records:
        await asyncio.to_thread(nodedb.configure, record, settings)


async def delete_record(target: str, portal: Portal, timeout: float) -> None:
    """Remove a node record; one that is gone already is no error."""
    await _iscsiadm("node", target, portal, "--op", "delete", timeout=timeout, fine=_ALREADY_GONE)


async def login(target: str, portal: Portal, timeout: float) -> None:
    """Log in and return when iscsid says that it is done.

    A session that exists is no error, but may still be on its way: iscsid
    lists it from the moment the login starts, so the caller looks at its state.
    """
    await _iscsiadm("node", target, portal, "--login", timeout=timeout, fine=(_SESSION_EXISTS,))


async def logout(sid: int, timeout: float) -> None:
    """End the session `sid`. Ids are never used twice, so no newer session can be hit."""
    args = ["iscsiadm", "-m", "session", "-r", str(sid), "--logout"]
    result = await commands.run(args, timeout)
    _check(result, f"log out of session {sid}", _ALREADY_GONE)


async def _iscsiadm(
    mode: str,
    target: str,
    portal: Portal,
    *args: str,
    timeout: float,
    fine: tuple[int, ...] = (),
) -> None:
    command = ["iscsiadm", "-m", mode, "-T", target, "-p", str(portal), "-I", "default", *args]
    result = await commands.run(command, timeout)
    _check(result, f"{' '.join(args).strip('-')} {target} at {portal}", fine)


def _check(result: commands.Result, what: str, fine: tuple[int, ...]) -> None:
    if result.code == 0 or result.code in fine:
        return
    meaning = _MEANING.get(result.code) or result.err or "failed"
    raise errors.Storage(f"{what}: {meaning} (iscsiadm exit code {result.code})")
