"""Vital product data page 0x83: which identities a logical unit claims. Pure."""

from __future__ import annotations

from . import errors
from .lun import Wwid

# SPC-5, 7.8.6.1: association and designator types
_LOGICAL_UNIT = 0
_T10, _EUI64, _NAA = 1, 2, 3
_RANK = {_NAA: 0, _EUI64: 1, _T10: 2}


def identities(page: bytes) -> tuple[Wwid, ...]:
    """Return the logical unit's WWIDs in page 0x83, strongest first.

    The order is that of udev's scsi_id: NAA 6 before other NAA names, then
    EUI-64, then T10 (systemd scsi_serial.c, id_search_list). Malformed
    designators are left out, and what is no such page has none.
    """
    if len(page) < 4 or page[1] != 0x83:
        return ()
    found: list[tuple[int, int, Wwid]] = []
    rest = page[4 : 4 + int.from_bytes(page[2:4], "big")]
    while len(rest) >= 4:
        code_set, kind, length = rest[0] & 0xF, rest[1] & 0xF, rest[3]
        body, association = rest[4 : 4 + length], rest[1] >> 4 & 3
        rest = rest[4 + length :]
        if association != _LOGICAL_UNIT or len(body) != length or kind not in _RANK:
            continue
        if wwid := _wwid(kind, code_set, body):
            found.append((_RANK[kind], -length, wwid))
    return tuple(wwid for _, _, wwid in sorted(found))


def _wwid(kind: int, code_set: int, body: bytes) -> Wwid | None:
    try:
        if kind == _T10:
            return Wwid.parse("t10." + body.decode("ascii").rstrip("\0 ").replace("\0", " "))
        digits = body.hex() if code_set == 1 else body.decode("ascii").rstrip("\0 ")
        return Wwid.parse(("naa." if kind == _NAA else "eui.") + digits)
    except (errors.Invalid, UnicodeDecodeError):
        return None
