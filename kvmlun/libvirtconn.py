"""libvirt in threads of its own: listings, events, metadata. The only importer of libvirt.

libvirt's calls block, some for as long as a hook runs, so no hook ever waits
for this module. Events come in the event thread and only wake the daemon up;
calls run one after the other in the call thread.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import libvirt

from . import domxml, errors, pools
from .leases import boottime
from .listing import Guest, Listing

log = logging.getLogger("kvmlun.libvirt")

URI = "qemu:///system"
_KEEPALIVE_SECONDS, _KEEPALIVE_COUNT = 5, 6
_EVENTS = (
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED,
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
    libvirt.VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2,
    libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
    libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED,
)
# States in which QEMU was started to receive a migration; its XML can't be had before the end.
_INCOMING = (
    [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION],
    [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP],
)
# What a source is in once its guest may run at the destination, too.
_IN_TRANSIT = (
    *_INCOMING,
    [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY],
    [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED],
)
_BY_USER = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER)
_IO_ERROR = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR)
# Of a domain whose job can't be asked for: "migration statistics are available only on the source
# host" (qemuDomainGetJobInfo), another job that takes long, and one that has just ended.
_JOB_UNKNOWN = (
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
    libvirt.VIR_ERR_OPERATION_TIMEOUT,
    libvirt.VIR_ERR_OPERATION_INVALID,
    libvirt.VIR_ERR_NO_DOMAIN,
)
T = TypeVar("T")


class Libvirt:
    """A connection that is opened when it is needed and opened again when it broke.

    `notify` is called in the loop's thread after every event, `turned` with the UUID of a domain
    that began to run or stood still.
    """

    def __init__(
        self, notify: Callable[[], None], turned: Callable[[str], None], uri: str = URI
    ) -> None:
        self._uri = uri
        self._loop = asyncio.get_running_loop()
        self._notify = notify
        self._turned = turned
        self._connection: Any = None
        self._caller = concurrent.futures.ThreadPoolExecutor(1, "libvirt-calls")
        self._starter = concurrent.futures.ThreadPoolExecutor(1, "libvirt-starts")
        self._guard = concurrent.futures.ThreadPoolExecutor(8, "libvirt-guard")
        self._opening = threading.Lock()
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=_run_events, name="libvirt-events", daemon=True).start()

    async def listing(self, incoming: frozenset[str]) -> Listing:
        """List all domains; `incoming` are the UUIDs whose XML is not asked for while they arrive.

        Raises errors.Storage where libvirt, or one active domain, can't be asked. On a host that
        has no libvirt there are none.
        """
        if is_absent():
            return Listing(boottime(), ())
        return await self._call(lambda: self._list(incoming))

    async def guest(self, uuid: str, *, in_turn: bool = False) -> Guest | None:
        """Look at one domain, None if it is gone. Raises errors.Storage.

        `in_turn` waits for a listing before it, and takes no thread from what protects data.
        """

        def call() -> Guest | None:
            try:
                domain = self._open().lookupByUUIDString(uuid)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise
                return None
            return _guest(domain, frozenset([uuid]))

        return await self._call(call, None if in_turn else self._guard)

    async def set_metadata(self, uuid: str, live: bool, xml: str | None) -> None:
        """Write or (None) remove our element in the live or the persistent definition."""
        flags = libvirt.VIR_DOMAIN_AFFECT_LIVE if live else libvirt.VIR_DOMAIN_AFFECT_CONFIG
        prefix = domxml.PREFIX if xml else None

        def call() -> None:
            domain = self._open().lookupByUUIDString(uuid)
            kind = libvirt.VIR_DOMAIN_METADATA_ELEMENT
            domain.setMetadata(kind, xml, prefix, domxml.NAMESPACE, flags)

        await self._call(call)

    async def start(self, uuid: str) -> bool:
        """Start an inactive domain with autostart; tell whether it is one. Raises errors.Storage.

        In a thread of its own, since it takes as long as the hooks of the start.
        """

        def call() -> bool:
            try:
                domain = self._open().lookupByUUIDString(uuid)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise
                return False
            if domain.isActive() or not domain.autostart():
                return False
            domain.create()
            return True

        return await self._call(call, self._starter)

    async def suspend(self, uuid: str) -> bool:
        """Suspend a domain that runs; tell whether it stands still for that or an I/O error.

        Not so one that somebody paused. In threads of their own, since a listing waits for the
        hooks of other domains, and this for what the guest has in flight. Raises errors.Storage.
        """

        def call() -> bool:
            domain = self._open().lookupByUUIDString(uuid)
            state, reason = domain.state()
            if state in (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED):
                domain.suspend()
                return True
            return (state, reason) == _IO_ERROR

        return await self._call(call, self._guard)

    async def is_paused(self, uuid: str) -> bool:
        """Tell whether somebody has paused a domain. Raises errors.Storage."""

        def call() -> bool:
            state = tuple(self._open().lookupByUUIDString(uuid).state())
            return state[0] == libvirt.VIR_DOMAIN_PAUSED and state != _IO_ERROR

        return await self._call(call, self._guard)

    async def resume(self, uuid: str) -> bool:
        """Let a domain go on that suspend() stopped, or an I/O error; tell whether it was so.

        One that is paused for another reason, a migration above all, may run elsewhere by now.
        Raises errors.Storage.
        """

        def call() -> bool:
            domain = self._open().lookupByUUIDString(uuid)
            if tuple(domain.state()) not in (_BY_USER, _IO_ERROR):
                return False
            domain.resume()
            return True

        return await self._call(call, self._guard)

    async def runs_here(self, uuid: str) -> bool:
        """Tell whether a domain is here and not in transit. Raises errors.Storage."""

        def call() -> bool:
            try:
                domain = self._open().lookupByUUIDString(uuid)
                return bool(domain.isActive()) and domain.state() not in _IN_TRANSIT
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise
                return False

        return await self._call(call, self._guard)

    async def _call(
        self,
        function: Callable[[], T],
        thread: concurrent.futures.ThreadPoolExecutor | None = None,
    ) -> T:
        try:
            return await self._loop.run_in_executor(thread or self._caller, function)
        except libvirt.libvirtError as error:
            raise errors.Storage(f"libvirt: {error}") from error

    def _open(self) -> Any:
        with self._opening:
            return self._opened()

    def _opened(self) -> Any:
        if self._connection is None or not self._connection.isAlive():
            connection = libvirt.open(self._uri)
            connection.setKeepAlive(_KEEPALIVE_SECONDS, _KEEPALIVE_COUNT)
            connection.registerCloseCallback(lambda *_: self._wake(), None)
            for event in _EVENTS:
                connection.domainEventRegisterAny(None, event, lambda *_: self._wake(), None)
            lifecycle = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
            connection.domainEventRegisterAny(None, lifecycle, self._moved, None)
            self._connection = connection
            log.info("connected to libvirt at %s", self._uri)
        return self._connection

    def _moved(self, _connection: Any, domain: Any, event: int, _detail: int, _: Any) -> None:
        self._wake()
        if event in (libvirt.VIR_DOMAIN_EVENT_RESUMED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED):
            uuid = domain.UUIDString()
            self._wake(lambda: self._turned(uuid))

    def _wake(self, call: Callable[[], None] | None = None) -> None:
        try:
            self._loop.call_soon_threadsafe(call or self._notify)
        except RuntimeError:
            log.debug("event after the loop ended")

    def _list(self, incoming: frozenset[str]) -> Listing:
        connection = self._open()
        began = boottime()
        guests = (_guest(domain, incoming) for domain in connection.listAllDomains(0))
        return Listing(began, tuple(guest for guest in guests if guest))


def is_absent(root: Path = Path("/")) -> bool:
    """Tell whether there is no libvirt, and no domain of one that was removed since."""
    daemons = (root / "usr/sbin" / name for name in ("libvirtd", "virtqemud"))
    running = (root / "run/libvirt/qemu").glob("*.pid")
    return not any(daemon.exists() for daemon in daemons) and not any(running)


def _run_events() -> None:
    while True:
        if libvirt.virEventRunDefaultImpl() < 0:
            log.error("libvirt's event loop failed once")


def _guest(domain: Any, incoming: frozenset[str]) -> Guest | None:
    uuid = domain.UUIDString()
    try:
        active = bool(domain.isActive())
        state = domain.state() if active else []
        arriving = uuid in incoming and state in _INCOMING
        live_xml = domain.XMLDesc(0) if active and not arriving else ""
        inactive = libvirt.VIR_DOMAIN_XML_INACTIVE
        persistent_xml = domain.XMLDesc(inactive) if domain.isPersistent() else ""
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise
    live, live_good = _parse(live_xml, domain)
    persistent, persistent_good = _parse(persistent_xml, domain)
    concerned = any(each and (each.links or each.luns) for each in (live, persistent))
    migrating = active and not arriving and concerned and _has_job(domain)
    # Metadata that this version can't read is not to be written over.
    settled = not (arriving or migrating) and live_good and persistent_good
    in_transit = state in _IN_TRANSIT
    return Guest(uuid, domain.name(), active, live, persistent, settled, in_transit)


def _parse(xml: str, domain: Any) -> tuple[domxml.Domain | None, bool]:
    """Return the definition and whether our metadata in it can be read.

    Its disks hold their LUNs in either case. Raises errors.Storage only for
    what is no domain definition at all.
    """
    if not xml:
        return None, True
    try:
        return domxml.parse(xml.encode(), volume_link=pools.volume_link), True
    except errors.Invalid as problem:
        log.debug("domain %s: %s", domain.name(), problem)
    try:
        return domxml.parse(xml.encode(), False, pools.volume_link), False
    except errors.Invalid as problem:
        raise errors.Storage(f"domain {domain.name()}: {problem}") from problem


def _has_job(domain: Any) -> bool:
    try:
        return bool(domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE)
    except libvirt.libvirtError as error:
        if error.get_error_code() in _JOB_UNKNOWN:
            return True
        raise
