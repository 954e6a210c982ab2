"""A look at a target with libiscsi, an initiator in user space.

Neither a session of the kernel nor a node record comes of it: libiscsi logs in with an ISID of
its own, so that sessions that the kernel has with the same target are not reinstated (RFC 7143,
6.3.5). Calls block; each request for at most the given time. libiscsi forgets that time while a
target sends without end, keeps all of it, and when it gets no more memory loops for ever: what
reads more than the answer to a login is done apart. Structures are those of libiscsi 1.19 and 1.20
(iscsi.h, scsi-lowlevel.h).
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import functools
import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from ctypes import (
    POINTER,
    Structure,
    c_char,
    c_char_p,
    c_int,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from dataclasses import dataclass
from typing import Any

from . import apart, errors, loginprobe, secrets, vpd
from .apart import Waits
from .domxml import Sectors
from .lun import Lun, Portal, parse_target
from .secrets import Chap

log = logging.getLogger("kvmlun.libiscsi")

_DISCOVERY, _NORMAL = 1, 2  # enum iscsi_session_type
_NOT_WELL_KNOWN = 0  # REPORT LUNS, SELECT REPORT (SPC-5, 6.34)
_ALLOCATION = 1 << 20
_PAGE_ALLOCATION = 0xFFC  # below 4 KiB, as some arrays want it
_DEVICE_IDENTIFICATION = 0x83
_CAPACITY = 32  # READ CAPACITY(16), SBC-4, 5.21
_DISK = 0  # peripheral device type, direct access block device
_ATTEMPTS = 3  # the first may only tell of a unit attention (SAM-5, 5.14)
_SECONDS = 60  # for all LUNs of a target, each of which may take its time to answer
_LUN_BITS = 0x3FFF  # without the addressing method (SAM-5, 4.7)


@dataclass(frozen=True)
class FoundLun:
    """A logical unit behind a target; `size` in bytes, `wwid` "" where it has none of use."""

    lun: int
    wwid: str
    size: int
    sectors: Sectors


# The library's own words tell which of its functions failed, not what that means.
_FAILED = {
    "iscsi_login_sync": "the login failed: ",
    "iscsi_discovery_sync": "no list of targets that can be read: ",
}
_NO_PAGE = "INVALID_FIELD_IN_CDB"  # lib/scsi-lowlevel.c, scsi_sense_ascq_str()
# lib/login.c; RFC 7143, 11.13.5: status class 2, detail 1
_NOT_LET_IN = "Authentication failure(513)"


class _Portal(Structure):
    pass


_Portal._fields_ = [("next", POINTER(_Portal)), ("portal", c_char_p)]


class _Target(Structure):
    pass


_Target._fields_ = [
    ("next", POINTER(_Target)),
    ("target_name", c_char_p),
    ("portals", POINTER(_Portal)),
]


class _Designator(Structure):
    pass


_Designator._fields_ = [
    ("next", POINTER(_Designator)),
    ("protocol", c_int),
    ("code_set", c_int),
    ("piv", c_int),
    ("association", c_int),
    ("type", c_int),
    ("length", c_int),
    ("data", POINTER(c_char)),
]


class _Identification(Structure):
    _fields_ = [
        ("qualifier", c_int),
        ("device_type", c_int),
        ("page", c_int),
        ("designators", POINTER(_Designator)),
    ]


class _Capacity(Structure):
    _fields_ = [
        ("last_block", c_uint64),
        ("block_length", c_uint32),
        ("p_type", c_uint8),
        ("prot_en", c_uint8),
        ("p_i_exp", c_uint8),
        ("lbppbe", c_uint8),  # logical blocks in a physical one, as a power of two
        ("lbpme", c_uint8),  # thin provisioning
    ]


@functools.cache
def _library() -> Any:
    name = ctypes.util.find_library("iscsi")
    if not name:
        raise errors.Storage("libiscsi is not installed; apt install libiscsi7")
    library = ctypes.CDLL(name)
    library.iscsi_create_context.argtypes = [c_char_p]
    for function, result in (
        ("iscsi_create_context", c_void_p),
        ("iscsi_get_error", c_char_p),
        ("iscsi_discovery_sync", POINTER(_Target)),
        ("iscsi_reportluns_sync", c_void_p),
        ("iscsi_inquiry_sync", c_void_p),
        ("iscsi_readcapacity16_sync", c_void_p),
        ("scsi_datain_unmarshall", c_void_p),
    ):
        getattr(library, function).restype = result
    library.scsi_free_scsi_task.argtypes = [c_void_p]
    library.scsi_free_scsi_task.restype = None
    library.scsi_datain_unmarshall.argtypes = [c_void_p]
    library.scsi_datain_getfullsize.argtypes = [c_void_p]
    return library


class Initiator:
    """Who asks, how long it waits for each answer (seconds), and who is told meanwhile."""

    def __init__(
        self, name: str, chap: Chap | None = None, seconds: int = 5, waits: Waits = apart.nobody
    ) -> None:
        self._name = name
        self._chap = chap
        self._seconds = seconds
        self._waits = waits

    @classmethod
    def of_host(cls, secret: str | None, waits: Waits = apart.nobody) -> Initiator:
        """Return this host's, with the secret of that name; raises errors.Config for a bad one."""
        chap = secrets.load(secret) if secret else None
        return cls(loginprobe.initiator(), chap, waits=waits)

    def try_login(self, portal: Portal, target: str) -> None:
        """Log in and out again; raises errors.Storage where the target lets this host not in."""
        with self._session(portal, target):
            log.debug("%s at %s lets this host in", target, portal)

    def targets(self, portal: Portal) -> dict[str, tuple[Portal, ...]]:
        """Ask a portal for its targets and theirs (SendTargets=All). Raises errors.Storage."""
        what = f"discovery at {portal}"
        return apart.call(what, _SECONDS, self._targets, portal, waits=self._waits)

    def _targets(self, portal: Portal) -> dict[str, tuple[Portal, ...]]:
        with self._session(portal, None) as session:
            first = session.call("iscsi_discovery_sync")
            found: dict[str, tuple[Portal, ...]] = {}
            problems: list[errors.Error] = []
            for target in _chain(first):
                addresses = [each.portal for each in _chain(target.portals)]
                try:
                    name, portals = _offered(target.target_name, addresses)
                    found[name] = portals or (portal,)
                except errors.Invalid as problem:
                    problems.append(problem)
            session.run("iscsi_free_discovery_data", first)
            _left_out("targets", problems)
            return found

    def sectors(self, lun: Lun) -> Sectors:
        """Ask for the block sizes of a LUN of the catalog. Raises errors.Storage."""
        return self._first(lun, lambda found: found.wwid == str(lun.wwid)).sectors

    def at(self, lun: Lun) -> FoundLun:
        """Ask what is at a LUN's address, whatever its WWID. Raises errors.Storage."""
        return self._first(lun, lambda found: found.lun == lun.address.lun)

    def _first(self, lun: Lun, fits: Callable[[FoundLun], bool]) -> FoundLun:
        problem = errors.Storage(f"{lun.address} is not there")
        for portal in lun.portals:
            try:
                found = self.luns(portal, lun.address.target)
            except errors.Storage as error:
                problem = error
                continue
            for each in filter(fits, found):
                return each
        raise problem

    def luns(self, portal: Portal, target: str) -> list[FoundLun]:
        """Log in and ask a target for its disks. Raises errors.Storage."""
        what = f"{target} at {portal}"
        return apart.call(what, _SECONDS, self._luns, portal, target, waits=self._waits)

    def _luns(self, portal: Portal, target: str) -> list[FoundLun]:
        with self._session(portal, target) as session:
            with session.task(
                "iscsi_reportluns_sync", _NOT_WELL_KNOWN, _ALLOCATION, limit=_ALLOCATION
            ) as data:
                count = c_uint32.from_address(data).value
                numbers = list((c_uint16 * count).from_address(data + ctypes.sizeof(c_uint32)))
            found: list[FoundLun] = []
            problems: list[errors.Error] = []
            for number in dict.fromkeys(numbers):
                try:
                    found += self._lun(session, number)
                except errors.Storage as problem:
                    problems.append(errors.Storage(f"LUN {number & _LUN_BITS}: {problem}"))
            _left_out("LUNs", problems)
            return found

    def _lun(self, session: _Session, number: int) -> list[FoundLun]:
        """Return the disk of that number, nothing where it is something else."""
        try:
            identity = self._identity(session, number)
        except errors.Storage as problem:
            if _NO_PAGE not in str(problem):
                raise
            identity = ""
        if identity is None:
            return []
        with session.task("iscsi_readcapacity16_sync", number, limit=_CAPACITY) as data:
            capacity = _Capacity.from_address(data)
            logical = capacity.block_length
            sectors = Sectors(logical, logical << capacity.lbppbe, bool(capacity.lbpme))
            size = (capacity.last_block + 1) * logical
        return [FoundLun(number & _LUN_BITS, identity, size, sectors)]

    def _identity(self, session: _Session, number: int) -> str | None:
        """Return the strongest WWID, "" without one, None where this is no disk."""
        with session.task(
            "iscsi_inquiry_sync", number, 1, _DEVICE_IDENTIFICATION, _PAGE_ALLOCATION,
            limit=_PAGE_ALLOCATION,
        ) as data:  # fmt: skip
            identification = _Identification.from_address(data)
            if identification.device_type != _DISK:
                return None
            return str(next(iter(vpd.identities(_page(identification))), ""))

    @contextlib.contextmanager
    def _session(self, portal: Portal, target: str | None) -> Iterator[_Session]:
        try:
            # libiscsi has no limit for a connection that nobody answers.
            socket.create_connection((portal.host, portal.port), self._seconds).close()
        except OSError as error:
            raise errors.NoAnswer(f"portal {portal}: {error.strerror or error}") from error
        session = _Session(self._name, f"{target or 'discovery'} at {portal}")
        try:
            session.prepare(target, self._chap, self._seconds)
            session.do("iscsi_connect_sync", portal.address.encode())
            session.log_in(bool(self._chap))
            yield session
            session.run("iscsi_logout_sync")
        finally:
            session.close()


class _Session:
    """A context of libiscsi. Methods raise errors.Storage with its own words."""

    def __init__(self, initiator: str, what: str) -> None:
        self._library = _library()
        self._what = what
        self._context = c_void_p(self._library.iscsi_create_context(initiator.encode()))
        if not self._context:
            # It refuses the empty name that an unreadable file gives.
            raise errors.Storage(
                "this host's initiator name in /etc/iscsi/initiatorname.iscsi can't be read; are "
                "you root?"
            )

    def prepare(self, target: str | None, chap: Chap | None, seconds: int) -> None:
        self.run("iscsi_set_session_type", _NORMAL if target else _DISCOVERY)
        # Its own ISID keeps the kernel's sessions alive, whatever numbers those have.
        self.run("iscsi_set_isid_random", c_uint32(int.from_bytes(os.urandom(3))), c_uint32(0))
        self.run("iscsi_set_noautoreconnect", 1)
        self.run("iscsi_set_timeout", seconds)
        if target:
            self.run("iscsi_set_targetname", target.encode())
        if chap:
            self.run(
                "iscsi_set_initiator_username_pwd", chap.username.encode(), chap.password.encode()
            )
            if chap.username_in:
                self.run(
                    "iscsi_set_target_username_pwd",
                    chap.username_in.encode(),
                    chap.password_in.encode(),
                )

    def run(self, function: str, *args: object) -> Any:
        return getattr(self._library, function)(self._context, *args)

    def do(self, function: str, *args: object) -> None:
        if self.run(function, *args) != 0:
            raise self._error(function)

    def log_in(self, with_secret: bool) -> None:
        try:
            self.do("iscsi_login_sync")
        except errors.Storage as error:
            if _NOT_LET_IN not in str(error):
                raise
            cause = "refuses this secret" if with_secret else "wants CHAP; name it with --secret"
            raise errors.Storage(f"{self._what}: the target {cause}") from error

    def call(self, function: str, *args: object) -> Any:
        """Return the pointer that a function gives."""
        result = self.run(function, *args)
        if not result:
            raise self._error(function)
        return result

    @contextlib.contextmanager
    def task(self, function: str, *args: int, limit: int) -> Iterator[int]:
        """Run a SCSI command and give the address of what the library understood of its data.

        `limit` is how many bytes were asked for.
        """
        task = self._command(function, *args)
        try:
            # The library believes the lengths in the answer, whatever was read of it.
            if self._library.scsi_datain_getfullsize(task) > limit:
                raise errors.Storage(f"{self._what}: an answer longer than was asked for")
            data = self._library.scsi_datain_unmarshall(task)
            if not data:
                raise errors.Storage(f"{self._what}: no understandable answer")
            yield data
        finally:
            self._library.scsi_free_scsi_task(task)

    def _command(self, function: str, *args: int) -> int:
        for _ in range(_ATTEMPTS):
            task = self.call(function, *args)
            if c_int.from_address(task).value == 0:  # status, the first of struct scsi_task
                return int(task)
            self._library.scsi_free_scsi_task(task)
        raise self._error(function)

    def close(self) -> None:
        self.run("iscsi_destroy_context")

    def _error(self, function: str) -> errors.Storage:
        told = (self.run("iscsi_get_error") or b"").decode(errors="replace")
        return errors.Storage(f"{self._what}: {_FAILED.get(function, '')}{told}")


def _left_out(what: str, problems: Sequence[errors.Error]) -> None:
    """Say it in one line, however many a target that lies names."""
    if problems:
        log.warning("%s left out: %d, the first is %s", what, len(problems), problems[0])


def _chain(pointer: Any) -> Iterator[Any]:
    while pointer:
        yield pointer.contents
        pointer = pointer.contents.next


def _offered(target: bytes, addresses: Iterable[bytes]) -> tuple[str, tuple[Portal, ...]]:
    """Return a target and its portals (RFC 7143, 13.8); raises errors.Invalid."""
    name = target.decode(errors="replace")
    texts = (address.decode(errors="replace") for address in addresses)
    return parse_target(name), tuple(Portal.parse(text.partition(",")[0]) for text in texts)


def _page(identification: _Identification) -> bytes:
    """Return the VPD page as the target sent it (SPC-5, 7.8.6)."""
    body = b""
    for each in _chain(identification.designators):
        head = (
            each.protocol << 4 | each.code_set,
            each.piv << 7 | each.association << 4 | each.type,
            0,
            each.length,
        )
        body += bytes(head) + each.data[: each.length]
    return bytes((0, _DEVICE_IDENTIFICATION)) + len(body).to_bytes(2, "big") + body
