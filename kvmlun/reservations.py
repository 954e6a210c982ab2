"""Persistent reservation commands to a disk, in a worker process (worker.py).

SG_IO passes them on only to a process with CAP_SYS_RAWIO (block/scsi_ioctl.c, scsi_cmd_allowed).
Each call first asks the disk who it is: a key on another LUN would shut out the host that uses
that one. Arguments and results are what JSON can carry.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import struct
import time
from collections.abc import Iterator
from typing import Any

from . import errors, reservation, scsi, sgio, vpd

_IN, _OUT = 0x5E, 0x5F
_READ_RESERVATION, _REPORT_CAPABILITIES, _READ_FULL_STATUS = 1, 2, 3
_REGISTER, _RESERVE, _PREEMPT_AND_ABORT = 0, 1, 5
_TYPE = reservation.WRITE_EXCLUSIVE_REGISTRANTS_ONLY
_LENGTH = 8192
# SPC-5, 4.4.8: a service action, or the command, that the target does not know.
_NOT_SUPPORTED = ((sgio.ILLEGAL_REQUEST, 0x20), (sgio.ILLEGAL_REQUEST, 0x24))
# SAM-5, 5.3.1: BUSY, TASK SET FULL and TASK ABORTED: not executed, as with a UNIT ATTENTION.
_AGAIN = (0x08, 0x28, 0x40)
_TRIES, _PAUSE_SECONDS = 20, 0.1


class _Unsupported(errors.Refused):
    """The target does not know the command."""


def pr_capabilities(name: str, number: str, wwid: str) -> list[bool]:
    """Return the fields of reservation.Capabilities.

    Whether PREEMPT AND ABORT is there is asked by one that can't do anything: from an initiator
    port that is not registered with that key it is a conflict (SPC-5, 5.14.11.1).
    """
    with _disk(name, number, wwid) as disk:
        try:
            data = _in(disk, _REPORT_CAPABILITIES)
            _in(disk, _READ_FULL_STATUS)
        except _Unsupported:
            return [False, False, False, False]
        try:
            _out(disk, _PREEMPT_AND_ABORT, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFE)
            abort = True
        except _Unsupported:
            abort = False
    found = reservation.capabilities(data, abort)
    return [found.reservations, found.type5, found.aptpl, found.abort]


def pr_status(name: str, number: str, wwid: str) -> dict[str, Any]:
    """Return what reservation.decode() makes a Reservation of."""
    with _disk(name, number, wwid) as disk:
        found = reservation.full_status(_in(disk, _READ_FULL_STATUS))
        reserved = reservation.reserved(_in(disk, _READ_RESERVATION))
    return reservation.encode(dataclasses.replace(found, reserved=reserved))


def pr_register(name: str, number: str, wwid: str, old: int, new: int, aptpl: bool) -> bool:
    """Change this path's registration from the key `old` (0: none) to `new` (0: none).

    Returns False where it is not `old`, and nothing was changed; so do the following ones.
    """
    with _disk(name, number, wwid) as disk:
        return _out(disk, _REGISTER, old, new, aptpl)


def pr_reserve(name: str, number: str, wwid: str, key: int) -> bool:
    """Become the holder; False where somebody else is, or this path is not registered."""
    with _disk(name, number, wwid) as disk:
        return _out(disk, _RESERVE, key, 0)


def pr_preempt(name: str, number: str, wwid: str, key: int, victim: int) -> bool:
    """Remove every registration with the key `victim`, and become the holder if that was it."""
    with _disk(name, number, wwid) as disk:
        return _out(disk, _PREEMPT_AND_ABORT, key, victim)


@contextlib.contextmanager
def _disk(name: str, number: str, wwid: str) -> Iterator[int]:
    disk = sgio.open_disk(name, number)
    try:
        if wwid not in map(str, vpd.identities(scsi.inquire(disk, 0x83))):
            raise errors.Stale(f"/dev/{name} is no longer {wwid}")
        yield disk
    finally:
        os.close(disk)


def _in(disk: int, action: int) -> bytes:
    length = _LENGTH
    while True:
        cdb = struct.pack(">BB5xHB", _IN, action, length, 0)
        answer = _repeat(disk, cdb, read=length)
        _check(cdb, answer)
        data = answer.data
        needed = 8 + int.from_bytes(data[4:8], "big")
        if action != _READ_FULL_STATUS or needed <= length or length == 0xFFFF:
            return data
        length = min(needed, 0xFFFF)


def _out(disk: int, action: int, key: int, service_key: int, aptpl: bool = False) -> bool:
    # Scope 0 is the logical unit; REGISTER ignores scope and type.
    parameters = reservation.parameters(key, service_key, aptpl)
    cdb = struct.pack(">BBB2xIB", _OUT, action, _TYPE, len(parameters), 0)
    answer = _repeat(disk, cdb, write=parameters)
    if answer.status == sgio.CHECK_CONDITION and answer.key == sgio.NOT_READY and aptpl:
        # LIO, target_core_pr.c, core_scsi3_update_and_write_aptpl().
        raise errors.Storage(
            "the target can't store registrations, as it says it can; on LIO make the folder pr in "
            "that which /sys/kernel/config/target/dbroot names"
        )
    _check(cdb, answer)
    return answer.status == sgio.GOOD


def _repeat(disk: int, cdb: bytes, *, read: int = 0, write: bytes = b"") -> sgio.Answer:
    """Send a command until it was executed; only a UNIT ATTENTION says at once that it was not."""
    for _ in range(_TRIES):
        answer = sgio.command(disk, cdb, read=read, write=write)
        if answer.key == sgio.UNIT_ATTENTION:
            continue
        if answer.status not in _AGAIN:
            break
        time.sleep(_PAUSE_SECONDS)
    return answer


def _check(cdb: bytes, answer: sgio.Answer) -> None:
    """Raise unless a command was executed, or is a conflict."""
    if answer.status in (sgio.GOOD, sgio.RESERVATION_CONFLICT):
        return
    if (answer.key, answer.code) in _NOT_SUPPORTED:
        raise _Unsupported("the target has no persistent reservations")
    raise OSError(
        errno.EIO,
        f"persistent reserve command 0x{cdb[0]:02x}/{cdb[1]} failed with SCSI status "
        f"0x{answer.status:02x}, sense 0x{answer.key:x}/0x{answer.code:02x}",
    )
