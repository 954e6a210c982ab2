"""Targets and LUNs on a SAN host, made with LIO."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.lab import machine

PROGRAM = "/usr/local/sbin/lab-target"
PORT = 3260


@dataclasses.dataclass(frozen=True)
class Volume:
    """A LUN as it was when it was exported."""

    iqn: str
    lun: int
    portals: tuple[str, ...]
    wwid: str
    serial: str
    size: int
    path: str

    @property
    def portal(self) -> str:
        return self.portals[0]

    def by_path(self, portal: str = "") -> str:
        """udev's link; it has the address of an IPv6 portal without its brackets."""
        address = (portal or self.portal).replace("[", "").replace("]", "")
        return f"/dev/disk/by-path/ip-{address}-iscsi-{self.iqn}-lun-{self.lun}"

    @property
    def by_id(self) -> str:
        return f"/dev/disk/by-id/wwn-0x{self.wwid.removeprefix('naa.')}"


@dataclasses.dataclass(frozen=True)
class Session:
    """A session of a target; address is the initiator's, where LIO tells it."""

    initiator: str
    address: str


class San:
    def __init__(self, host: machine.Machine) -> None:
        self.host = host

    def prepare(self) -> None:
        self.host.put(Path(__file__).parent / "target_program.py", PROGRAM, mode=0o755)

    def portal(self, network: str = "san_a", ipv6: bool = False) -> str:
        address = self.host.address(network, ipv6)
        return f"[{address}]:{PORT}" if ipv6 else f"{address}:{PORT}"

    def portals(self) -> list[str]:
        """One on each of the storage networks."""
        return [self.portal(network) for network in ("san_a", "san_b")]

    def create(
        self,
        iqn: str,
        lun: int = 0,
        size: int = 64 << 20,
        *,
        portals: Sequence[str] = (),
        serial: str = "",
        path: str = "",
        attributes: dict[str, int] | None = None,
        apart: bool = False,
    ) -> Volume:
        """Export a LUN, of a new target or one more of this one.

        A path that exists keeps its content. Equal serials make equal WWIDs. The attributes are
        those of LIO's backstore, as emulate_pr. With `apart` each portal can show another LUN.
        """
        return self._volume(
            "create",
            iqn=iqn,
            lun=lun,
            size=size,
            portals=list(portals or [self.portal()]),
            serial=serial,
            path=path,
            attributes=attributes or {},
            apart=apart,
        )

    def create_all(
        self, iqn: str, sizes: Sequence[int], portals: Sequence[str] = ()
    ) -> list[Volume]:
        """Export a LUN of each size, from number 0 on, of a new target."""
        portals = list(portals or [self.portal()])
        made = self._call("create_all", iqn=iqn, sizes=list(sizes), portals=portals)
        return [_as_volume(fields) for fields in made]

    def swap(
        self, volume: Volume, *, size: int = 0, serial: str = "", path: str = "", group: int = 1
    ) -> Volume:
        """Export another disk under the IQN and number of this one, whose file stays.

        `group` is the number of the portal that shows it where they are apart.
        """
        return self._volume(
            "swap",
            iqn=volume.iqn,
            lun=volume.lun,
            size=size or volume.size,
            portals=list(volume.portals),
            serial=serial,
            path=path,
            attributes={},
            group=group,
        )

    def restrict(self, volume: Volume, attribute: str, value: int) -> None:
        """Set an attribute of LIO's portal group, as authentication or generate_node_acls."""
        self._call("restrict", iqn=volume.iqn, attribute=attribute, value=value)

    def chap(
        self,
        volume: Volume,
        initiator: str,
        username: str,
        password: str,
        username_in: str = "",
        password_in: str = "",
    ) -> None:
        """Let one initiator in only, with CHAP (mutual with `username_in`); again: a new secret."""
        self._call(
            "chap",
            iqn=volume.iqn,
            initiator=initiator,
            username=username,
            password=password,
            username_in=username_in,
            password_in=password_in,
        )

    @contextlib.contextmanager
    def discovery_chap(self, username: str, password: str) -> Iterator[None]:
        """Have all discoveries of this SAN authenticated."""
        self._call("discovery_chap", username=username, password=password)
        try:
            yield
        finally:
            self._call("discovery_chap", username="", password="")

    def restart(self, volume: Volume, *, forget: bool = False) -> None:
        """Restart a target; its initiators have to log in again.

        It knows the reservations that it was asked to keep (APTPL), unless it is to `forget` them.
        """
        self._call("restart", iqn=volume.iqn, forget=forget)

    def delete(self, iqn: str, lun: int | None = None) -> None:
        """Remove a LUN and its file, or the target with all of them, whoever is logged in."""
        self._call("delete", iqn=iqn, lun=lun)

    def clear(self, prefix: str = "") -> None:
        """Remove the targets whose names begin so, and their files in /var/target."""
        self._call("clear", prefix=prefix)

    def targets(self) -> list[str]:
        return list(self._call("targets"))

    def sessions(self, iqn: str) -> list[Session]:
        return [Session(**found) for found in self._call("sessions", iqn=iqn)]

    def read(self, volume: Volume, offset: int = 0, length: int | None = None) -> bytes:
        length = volume.size - offset if length is None else length
        where = f"skip={offset} count={length} iflag=skip_bytes,count_bytes"
        return self.host.output(f"dd if={volume.path} bs=1M {where} status=none", timeout=300)

    def write(self, volume: Volume, data: bytes, offset: int = 0) -> None:
        """Behind the target's back."""
        how = "conv=notrunc,fsync oflag=seek_bytes"
        line = f"dd of={volume.path} bs=1M seek={offset} {how} status=none"
        self.host.run(line, timeout=300, input=data)

    def _volume(self, op: str, **arguments: Any) -> Volume:
        return _as_volume(self._call(op, **arguments))

    def _call(self, op: str, **arguments: Any) -> Any:
        request = json.dumps({"op": op, **arguments})
        return json.loads(self.host.run([PROGRAM], input=request).out)


def _as_volume(fields: dict[str, Any]) -> Volume:
    return Volume(**{**fields, "portals": tuple(fields["portals"])})
