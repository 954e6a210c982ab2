"""The field's nouns as immutable values: WWID, IQN, portal, LUN address, LUN.

Pure: no I/O. Everything that comes from outside is checked here once, so that
no later code has to ask whether a target name is safe in a path or an argument.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re

from . import errors, links
from .links import BY_ID, BY_PATH

ISCSI_PORT = 3260  # RFC 7143, section 4.1

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# RFC 3720, section 3.2.6.3: at most 223 bytes; iqn., eui. or naa. names.
_TARGET = re.compile(
    r"iqn\.[0-9]{4}-[0-9]{2}\.[a-z0-9][a-z0-9.-]*(:[a-z0-9.:_-]+)?"
    r"|eui\.[0-9a-f]{16}|naa\.[0-9a-f]{16}([0-9a-f]{16})?",
    re.ASCII | re.IGNORECASE,
)
_TARGET_MAX = 223
_PORT = re.compile(r"[0-9]{1,5}")
# SPC-5, 7.8.6: NAA 2, 3 and 5 have 16 hexadecimal digits, NAA 6 has 32; an EUI-64 has 16, 24 or 32.
_NAA = re.compile(r"[235][0-9a-f]{15}|6[0-9a-f]{31}")
_EUI = re.compile(r"[0-9a-f]{16}([0-9a-f]{8}){0,2}")
_T10 = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,252}[\x21-\x7e])?")
# systemd udev-builtin-path_id.c, handle_scsi_iscsi() and format_lun_number()
_BY_PATH = re.compile(
    r"ip-(?P<host>[0-9a-f.:]+):(?P<port>[0-9]{1,5})-iscsi-(?P<target>.+)"
    r"-lun-(?P<lun>[0-9]{1,3}|0x[0-9a-f]{16})",
    re.ASCII | re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True, order=True)
class Wwid:
    """The identity of a logical unit, written as the kernel's ``wwid`` attribute writes it."""

    text: str

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str) -> Wwid:
        """Raises errors.Invalid unless `text` is ``naa.…``, ``eui.…`` or ``t10.…``."""
        kind, _, value = text.partition(".")
        kind = kind.lower()
        form = {"naa": _NAA, "eui": _EUI, "t10": _T10}.get(kind)
        if kind != "t10":
            value = value.lower()
        if form is None or not form.fullmatch(value):
            raise errors.Invalid(
                f"{text[:80]!r} is no WWID: naa. with 16 or 32 hexadecimal digits, eui. with 16, "
                "or t10."
            )
        return cls(f"{kind}.{value}")

    @classmethod
    def from_link(cls, link: str) -> Wwid | None:
        """Return the WWID that a by-id link spells, None where the name carries none."""
        try:
            return cls.parse(links.spelled(link))
        except errors.Invalid:
            return None

    @property
    def link(self) -> str:
        """The by-id link that udev's own rules make for this WWID.

        Raises errors.Invalid for a ``t10.`` name, which has no stable link.
        """
        kind, _, value = self.text.partition(".")
        if kind == "naa":
            return f"{BY_ID}wwn-0x{value}"
        if kind == "eui":
            return f"{BY_ID}scsi-2{value}"
        raise errors.Invalid(f"{self} has no stable by-id link; use its by-path link")

    @property
    def serial(self) -> str | None:
        """What scsi_id(8) makes of it, so udev's ID_SERIAL; None for a t10. name."""
        kind, _, value = self.text.partition(".")
        prefix = {"naa": "3", "eui": "2"}.get(kind)
        return f"{prefix}{value}" if prefix else None

    @property
    def map_uuid(self) -> str | None:
        """Device mapper's UUID of its multipath map, None for a t10. name.

        multipath's WWID is udev's ID_SERIAL (multipath.conf(5), uid_attrs).
        """
        return f"mpath-{self.serial}" if self.serial else None


@dataclasses.dataclass(frozen=True, order=True)
class Portal:
    """An address and TCP port of a target, and this host's iface to reach it by.

    `iface` is the name of an open-iscsi iface; "" in what is wanted is any, in a session the
    default one, for which routing decides.
    """

    host: str
    port: int = ISCSI_PORT
    iface: str = ""

    @classmethod
    def parse(cls, text: str) -> Portal:
        """Parse ``10.0.0.1``, ``10.0.0.1:3260``, ``fd00::1`` or ``[fd00::1]:3260``.

        Raises errors.Invalid; names are refused because a link and a session
        only ever show addresses, so a name could not be matched with either.
        """
        host, port = text, str(ISCSI_PORT)
        if match := re.fullmatch(r"\[(.+)\](?::([0-9]+))?", text):
            host, port = match[1], match[2] or port
        elif text.count(":") == 1:
            host, port = text.split(":")
        return cls.make(host, port, text)

    @classmethod
    def make(cls, host: str, port: str, text: str) -> Portal:
        """Build a portal of two checked parts; `text` is what an error quotes."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            address = None
        if address is None or getattr(address, "scope_id", None):
            raise errors.Invalid(
                f"portal {text[:80]!r} must be an IP address, with :port if it is not 3260"
            )
        if not (_PORT.fullmatch(port) and 0 < int(port) < 65536):
            raise errors.Invalid(f"portal {text[:80]!r} has no valid port")
        return cls(str(address), int(port))

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.address} by iface {self.iface}" if self.iface else self.address

    def serves(self, wanted: Portal) -> bool:
        """Tell whether a session made with this one is what `wanted` asks for."""
        there = (self.host, self.port) == (wanted.host, wanted.port)
        return there and wanted.iface in ("", self.iface)

    def is_in(self, network: Network) -> bool:
        return ipaddress.ip_address(self.host) in network


@dataclasses.dataclass(frozen=True, order=True)
class LunAddress:
    """Where a logical unit is: target name and logical unit number."""

    target: str
    lun: int

    def __str__(self) -> str:
        return f"{self.target} LUN {self.lun}"

    @property
    def kernel_luns(self) -> tuple[int, ...]:
        """Numbers under which the kernel may know this LUN, most likely first.

        SAM-5, 4.7: a target reports numbers from 256 on with either peripheral
        or flat space addressing (0x4000 set), and the kernel keeps these bits.
        """
        return (self.lun,) if self.lun < 256 else (self.lun, self.lun | 0x4000)


def id_path(portal: Portal, target: str, kernel_lun: int) -> str:
    """udev's ID_PATH (systemd udev-builtin-path_id.c, format_lun_number)."""
    number = str(kernel_lun) if kernel_lun < 256 else f"0x{kernel_lun:04x}000000000000"
    return f"ip-{portal.host}:{portal.port}-iscsi-{target}-lun-{number}"


@dataclasses.dataclass(frozen=True)
class Lun:
    """A logical unit as a source of knowledge (catalog, metadata, link) tells of it.

    `size` is in bytes, None where the source does not say. `overlay` is told by metadata
    only: the LUN is below a file that an external snapshot made, which alone is in the definition.
    `secret` is the name of one in this host's catalog, for the portals there; `min_paths` is how
    many of them a start waits for where the LUN is used by multipath. `fencing` is whether other
    hosts are to be kept from writing, None where the source does not say; `key` is told by the
    metadata of a running domain only: that which its host holds the LUN by.
    """

    wwid: Wwid | None
    address: LunAddress
    portals: tuple[Portal, ...]
    size: int | None = None
    volume: str | None = None
    overlay: bool = False
    secret: str | None = None
    min_paths: int = 1
    fencing: bool | None = None
    key: int | None = None

    def __str__(self) -> str:
        return f"{self.wwid or 'a LUN of unknown WWID'} ({self.address})"

    @property
    def addresses(self) -> tuple[str, ...]:
        """The portals' addresses, each once however many ifaces lead there."""
        return tuple(dict.fromkeys(portal.address for portal in self.portals))

    @property
    def ifaces(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(portal.iface for portal in self.portals if portal.iface))

    @property
    def everywhere(self) -> Lun:
        """What is the same on every host, so may travel with a domain."""
        portals = tuple(dict.fromkeys(Portal(p.host, p.port) for p in self.portals))
        return dataclasses.replace(self, portals=portals, volume=None, secret=None, min_paths=1)


def parse_network(text: str) -> Network:
    """Parse ``10.0.0.0/24``, ``fd00::/64`` or an address alone; raises errors.Invalid."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise errors.Invalid(
            f"{text[:80]!r} is no IP address or network; a network is written like 10.0.0.0/24, "
            "with nothing behind its prefix"
        ) from None


def parse_target(text: str) -> str:
    """Return `text` if it is an iSCSI target name; raises errors.Invalid."""
    if len(text) > _TARGET_MAX or not _TARGET.fullmatch(text):
        raise errors.Invalid(f"{text[:80]!r} is no iSCSI target name (iqn., eui. or naa.)")
    return text


def parse_lun(value: object) -> int:
    """Return a logical unit number, 0 to 16383; raises errors.Invalid."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 6:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 0x4000:
        return value
    raise errors.Invalid(f"{str(value)[:80]!r} is no logical unit number (0 to 16383)")


def parse_by_path(link: str) -> Lun | None:
    """Return what a by-path link spells, None if it is not one of an iSCSI disk.

    Raises errors.Invalid for a link that looks like one and is malformed.
    """
    name = link.removeprefix(BY_PATH)
    if not name.startswith("ip-") or "-iscsi-" not in name:
        return None
    match = _BY_PATH.fullmatch(name)
    if match is None:
        raise errors.Invalid(f"{link[:300]!r} is no by-path link of a whole iSCSI disk")
    number = match["lun"].lower()
    lun = int(number, 16) >> 48 & 0x3FFF if number.startswith("0x") else int(number)
    address = LunAddress(parse_target(match["target"]), lun)
    return Lun(None, address, (Portal.make(match["host"], match["port"], name),))
