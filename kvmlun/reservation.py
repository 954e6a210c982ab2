"""Persistent reservations as values: keys, who is registered, who holds. Pure.

SPC-5, 5.14 (model), 6.16 (PERSISTENT RESERVE IN), 6.17 (OUT) and 7.6.4.6 (iSCSI TransportID).
"""

from __future__ import annotations

import struct
import time
from dataclasses import asdict, dataclass
from typing import Any

from . import errors

WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 5  # SPC-5, table 66
_ISCSI = 5  # protocol identifier, SPC-5, 7.6.1


@dataclass(frozen=True)
class Host:
    """This host as a target sees it: half of its keys, and the initiator name of its sessions."""

    id: int
    initiator: str


@dataclass(frozen=True)
class Registration:
    """One initiator port that is registered; `type` is the reservation's where it is the holder.

    `initiator` is the iSCSI name, `port` all that the TransportID tells, its ISID included.
    """

    key: int
    initiator: str
    port: str
    holder: bool = False
    type: int = 0

    @property
    def host_id(self) -> int:
        return self.key >> 32

    @property
    def text(self) -> str:
        """The key and whose it is, for people."""
        return f"{self.initiator or 'an initiator without a name'} (key {key_text(self.key)})"


@dataclass(frozen=True)
class Reservation:
    """All registrations of one LUN at one moment.

    `reserved` is the key that READ RESERVATION tells, 0 for none: the same as the holder's, but
    not always with LIO (see `holder`).

    `generation` counts what changed them since the target began to (SPC-5, 6.16.2: PRGENERATION
    is 0 after a power on), so it tells a target that has forgotten from one that was left.
    """

    registrations: tuple[Registration, ...] = ()
    generation: int = 0
    reserved: int = 0

    @property
    def holder(self) -> Registration | None:
        """The holder, whose use of the LUN began last should there be more than one.

        LIO can make a second one: it is restarted, another initiator reserves the LUN, and then
        the holder from before logs in again (__core_scsi3_check_aptpl_registration).
        """
        holders = [each for each in self.registrations if each.holder]
        return max(holders, key=lambda each: (since(each.key), each.key), default=None)

    def foreign(self, host: Host) -> tuple[Registration, ...]:
        """Return the registrations that are not this host's, one a key, the holder first."""
        mine = self.stale(host)
        by_key = {each.key: each for each in self.registrations if each.key not in mine}
        by_key.update(
            {each.key: each for each in self.registrations if each.holder and each.key in by_key}
        )
        return tuple(sorted(by_key.values(), key=lambda each: not each.holder))

    @property
    def keys(self) -> frozenset[int]:
        return frozenset(each.key for each in self.registrations)

    def changes(self, key: int) -> int:
        """Return how often others have changed something since the target began to count.

        Where it began without any registration, and each one of `key` was registered once.
        """
        return self.generation - sum(each.key == key for each in self.registrations)

    def has(self, key: int) -> bool:
        return key in self.keys

    def held_by(self, key: int) -> bool:
        return self.holder is not None and self.holder.key == key

    def other_holder(self, key: int) -> int:
        """Return the key of a holder beside that of `key`, 0 if there is none."""
        return next((each.key for each in self.registrations if each.holder and each.key != key), 0)

    def stale(self, host: Host, key: int = 0) -> tuple[int, ...]:
        """Keys of this host other than `key`: what earlier logins of it left on the target.

        Only its initiator name and its host id together make a key this host's own.
        """
        return tuple(
            sorted({each.key for each in self._named(host) if each.host_id == host.id} - {key})
        )

    def check_name(self, name: str, host: Host) -> None:
        """Refuse an initiator name or a host id that is not this host's alone.

        `name` is what the error begins with. Raises errors.Refused.
        """
        for each in self._named(host):
            if each.host_id != host.id:
                raise errors.Refused(
                    f"{name}: another host has the initiator name {host.initiator} and is "
                    f"registered with key {key_text(each.key)}; give each host a name of its own "
                    "in /etc/iscsi/initiatorname.iscsi (if this host was installed anew, kvmlun "
                    "takeover removes what it has left)"
                )
        for each in self.registrations:
            if each.host_id == host.id and each.initiator.lower() != host.initiator.lower():
                raise errors.Refused(
                    f"{name}: {each.text} is registered with this host's own id, so it has the "
                    "same /etc/machine-id (give each host its own), or this host has changed its "
                    "initiator name (kvmlun takeover then removes the old registration)"
                )

    def _named(self, host: Host) -> list[Registration]:
        name = host.initiator.lower()
        return [each for each in self.registrations if each.initiator.lower() == name]


@dataclass(frozen=True)
class Capabilities:
    """What a target can do of that which fencing needs.

    `aptpl`: registrations can survive a power loss of the target. `abort`: PREEMPT AND ABORT.
    """

    reservations: bool
    type5: bool = False
    aptpl: bool = False
    abort: bool = False

    @property
    def lacks(self) -> str:
        """What is missing for fencing, "" if nothing is."""
        if not self.reservations:
            return "persistent reservations with READ FULL STATUS"
        if not self.type5:
            return "reservations of type 5 (write exclusive, registrants only)"
        return "" if self.abort else "PREEMPT AND ABORT"

    @property
    def text(self) -> str:
        if self.lacks:
            return f"no {self.lacks}"
        return "type 5, kept over a restart" if self.aptpl else "type 5, lost at its restart"


def make_key(host: Host, after: int = 0) -> int:
    """Return a key for a use of a LUN that begins now, unlike the key `after` of the use before.

    The lower half is the time, so that any host can tell since when it is held. It has to be new
    and not right: where the clock went back, the next second after the last one is taken.
    """
    nonce = int(time.time()) & 0xFFFFFFFF
    if after >> 32 == host.id and nonce <= after & 0xFFFFFFFF:
        nonce = (after & 0xFFFFFFFF) + 1
    return host.id << 32 | nonce


def since(key: int) -> int:
    """Return when the use of a LUN that a key of ours stands for began, in seconds of Unix time."""
    return key & 0xFFFFFFFF


def key_text(key: int) -> str:
    return f"0x{key:016x}"


def local_time(key: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since(key)))


def held(name: str, holder: Registration, remedy: str) -> errors.Refused:
    """Return the refusal of a LUN that another host has."""
    if holder.type != WRITE_EXCLUSIVE_REGISTRANTS_ONLY:
        return errors.Refused(
            f"{name}: {holder.text} has a reservation of type {holder.type}, which is not "
            "kvmlun's; a LUN whose guests reserve it themselves needs <shareable/> or "
            "device='lun', or fencing: false"
        )
    return errors.Refused(
        f"{name}: {holder.text} holds it since {local_time(holder.key)}; stop its VM there, or if "
        f"that host is dead: {remedy}"
    )


def full_status(data: bytes) -> Reservation:
    """Parse the answer of READ FULL STATUS; raises errors.Storage where it is malformed."""
    length = int.from_bytes(data[4:8], "big")
    if len(data) < 8 + length:
        raise errors.Storage("the target's list of registrations (READ FULL STATUS) is cut off")
    found, rest = [], data[8 : 8 + length]
    while rest:
        length = int.from_bytes(rest[20:24], "big")
        if len(rest) < 24 + length:
            raise errors.Storage("the target's list of registrations (READ FULL STATUS) is cut off")
        port = _port(rest[24 : 24 + length])
        holds = bool(rest[12] & 1)
        found.append(
            Registration(
                key=int.from_bytes(rest[:8], "big"),
                initiator=port.partition(",")[0],
                port=port,
                holder=holds,
                type=rest[13] & 0xF if holds else 0,
            )
        )
        rest = rest[24 + length :]
    return Reservation(tuple(found), int.from_bytes(data[:4], "big"))


def reserved(data: bytes) -> int:
    """Parse the answer of READ RESERVATION (SPC-5, 6.16.3): the holder's key, 0 without one."""
    return int.from_bytes(data[8:16], "big") if int.from_bytes(data[4:8], "big") >= 16 else 0


def _port(transport_id: bytes) -> str:
    """Return the name in an iSCSI TransportID, "" for another one."""
    if len(transport_id) < 4 or transport_id[0] & 0xF != _ISCSI:
        return ""
    name = transport_id[4 : 4 + int.from_bytes(transport_id[2:4], "big")]
    return errors.one_line(name.partition(b"\0")[0].decode(errors="replace"))


def capabilities(data: bytes, abort: bool) -> Capabilities:
    """Parse the answer of REPORT CAPABILITIES (SPC-5, 6.16.4)."""
    if len(data) < 8:
        return Capabilities(reservations=True)
    # A target that does not fill the type mask (TMV is 0) can't say.
    type5 = not data[3] & 0x80 or bool(data[4] & 0x20)
    return Capabilities(True, type5, aptpl=bool(data[2] & 0x01), abort=abort)


def parameters(key: int, service_key: int, aptpl: bool) -> bytes:
    """Return the parameter list of PERSISTENT RESERVE OUT (SPC-5, 6.17.3)."""
    return struct.pack(">QQ4xB3x", key, service_key, aptpl)


def decode(value: dict[str, Any]) -> Reservation:
    """Build what encode() made JSON of."""
    registrations = (Registration(**each) for each in value["registrations"])
    return Reservation(tuple(registrations), value["generation"], value["reserved"])


def encode(reservation: Reservation) -> dict[str, Any]:
    return asdict(reservation)
