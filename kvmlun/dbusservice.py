"""The management API on D-Bus: a thin facade over the manager.

Annotations here are D-Bus signatures, so this module can't postpone them.
"""

import asyncio
import contextlib
import functools
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

from dbus_next import BusType, DBusError, PropertyAccess, Variant
from dbus_next.aio import MessageBus
from dbus_next.service import ServiceInterface, dbus_property, method

from . import __version__, domxml, errors, names, reservation, status
from .manager import Manager
from .repin import Comparison
from .reservation import Reservation
from .takeover import Holding

log = logging.getLogger("kvmlun.dbus")

_RETRY_SECONDS = 5.0
_READ = PropertyAccess.READ


def _translated(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give the caller our errors by name, and of any other only that it happened."""

    @contextlib.contextmanager
    def translation() -> Iterator[None]:
        try:
            yield
        except errors.Error as error:
            raise DBusError(names.ERROR + error.name, str(error)) from error
        except Exception as error:
            log.exception("D-Bus method failed")
            raise DBusError(names.ERROR + "Internal", "see journalctl -u kvmlund") from error

    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        with translation():
            return function(*args)

    @functools.wraps(function)
    async def awaiting(*args: Any) -> Any:
        with translation():
            return await function(*args)

    return awaiting if asyncio.iscoroutinefunction(function) else wrapper


class Manager1(ServiceInterface):
    """The daemon: its version, what it waits for, the catalog of volumes."""

    def __init__(self, manager: Manager) -> None:
        super().__init__(names.MANAGER)
        self._manager = manager

    @dbus_property(_READ)
    def Version(self) -> "s":
        return __version__

    @dbus_property(_READ)
    def LibvirtProblem(self) -> "s":
        return self._manager.libvirt_problem

    @dbus_property(_READ)
    def ConfigProblem(self) -> "s":
        return self._manager.config_problem

    @dbus_property(_READ)
    def Suspended(self) -> "as":
        return [f"{s.name}: {s.why}" for s in self._manager.guard.suspended]

    @dbus_property(_READ)
    def FencingProblems(self) -> "as":
        return list(self._manager.fencing_problems)

    @method()
    @_translated
    def ListVolumes(self) -> "aa{sv}":
        return [_variants(v) for v in status.volumes(self._manager.config.volumes.values())]

    @method()
    @_translated
    def GetVolume(self, name: "s") -> "a{sv}":
        return _variants(status.volumes([self._manager.config.volume(name)])[0])

    @method()
    @_translated
    def AddVolume(self, name: "s", volume: "a{sv}"):
        self._manager.add_volume(name, {key: member.value for key, member in volume.items()})

    @method()
    @_translated
    def RemoveVolume(self, name: "s"):
        self._manager.remove_volume(name)

    @method()
    @_translated
    async def ComparePin(self, what: "s") -> "a{sv}":
        return _comparison(await self._manager.compare_pin(what))

    @method()
    @_translated
    async def Repin(self, what: "s", wwid: "s") -> "a{sv}":
        return _comparison(await self._manager.repin(what, wwid))

    @method()
    @_translated
    async def ListReservations(self) -> "aa{sv}":
        return [_reservation(each) for each in await self._manager.reservations()]

    @method()
    @_translated
    async def CompareHolders(self, vm: "s") -> "aa{sv}":
        return [_holding(each) for each in await self._manager.takeovers.compare(vm)]

    @method()
    @_translated
    async def TakeOver(self, vm: "s", rivals: "a{sat}") -> "as":
        return await self._manager.takeovers.take_over(vm, rivals)

    @method()
    @_translated
    def GiveUp(self, vm: "s"):
        self._manager.takeovers.give_up(vm)

    @method()
    @_translated
    def DiskXml(self, volume: "s", target: "s") -> "s":
        return domxml.disk_xml(self._manager.config.volume(volume).wwid.link, target)

    @method()
    @_translated
    def Reload(self):
        self._manager.configure()

    @method()
    @_translated
    async def Connect(self, volume: "s", owner: "s", ttl: "u") -> "s":
        return await self._manager.connections.connect(volume, owner, ttl)

    @method()
    @_translated
    def Renew(self, volume: "s", owner: "s", ttl: "u"):
        self._manager.connections.renew(volume, owner, ttl)

    @method()
    @_translated
    def Disconnect(self, volume: "s", owner: "s"):
        self._manager.connections.disconnect(volume, owner)


# Name, D-Bus signature and value of each property of an object.
_LUN_PROPERTIES: dict[str, tuple[str, Callable[[status.LunStatus], Any]]] = {
    "Wwid": ("s", lambda lun: lun.wwid),
    "Volume": ("s", lambda lun: lun.volume),
    "Target": ("s", lambda lun: lun.target),
    "Lun": ("u", lambda lun: lun.lun),
    "Portals": ("as", lambda lun: list(lun.portals)),
    "Device": ("s", lambda lun: lun.device),
    "Link": ("s", lambda lun: lun.link),
    "Size": ("t", lambda lun: lun.size),
    "Sessions": ("ao", lambda lun: [_session_path(sid) for sid in lun.sessions]),
    "Domains": ("as", lambda lun: list(lun.domains)),
    "State": ("s", lambda lun: lun.state),
    "Key": ("s", lambda lun: lun.key),
}
_SESSION_PROPERTIES: dict[str, tuple[str, Callable[[status.SessionStatus], Any]]] = {
    "Id": ("u", lambda session: session.sid),
    "Target": ("s", lambda session: session.target),
    "Portal": ("s", lambda session: session.portal),
    "Iface": ("s", lambda session: session.iface),
    "State": ("s", lambda session: session.state),
    "Owned": ("b", lambda session: session.owned),
}


class Shown(ServiceInterface):
    """An object that shows a value of status.py. Subclasses come from _shows()."""

    interface: str
    table: dict[str, tuple[str, Callable[[Any], Any]]]

    def __init__(self, value: Any) -> None:
        super().__init__(self.interface)
        self.value = value

    def update(self, value: Any) -> None:
        """Show `value` from now on, and signal which properties that changed."""
        before, self.value = self._current(), value
        changed = {name: new for name, new in self._current().items() if new != before[name]}
        if changed:
            self.emit_properties_changed(changed)

    def _current(self) -> dict[str, Any]:
        return {name: read(self.value) for name, (_, read) in self.table.items()}


def _shows(name: str, table: dict[str, Any]) -> type[Shown]:
    members: dict[str, Any] = {"interface": name, "table": table}
    for member, (signature, read) in table.items():
        members[member] = dbus_property(_READ)(_getter(member, signature, read))
    return type(name.rpartition(".")[2], (Shown,), members)


def _getter(name: str, signature: str, read: Callable[[Any], Any]) -> Callable[[Shown], Any]:
    def getter(self: Shown) -> Any:
        return read(self.value)

    getter.__name__ = name
    getter.__annotations__ = {"return": signature}
    return getter


Lun1 = _shows(names.LUN, _LUN_PROPERTIES)
Session1 = _shows(names.SESSION, _SESSION_PROPERTIES)


class Service:
    """Keeps the bus name, and an object for every LUN and session."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._bus: MessageBus | None = None
        self._objects: dict[str, Shown] = {}
        # dbus-next logs a traceback for each error that a method answers with on purpose.
        for logger in (logging.getLogger(), logging.getLogger("asyncio")):
            logger.addFilter(_not_an_answer)

    async def run(self) -> None:
        """Serve for ever; a system bus that is not there (yet) keeps nothing else waiting."""
        while True:
            try:
                self._bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
                self._objects = {}
                self._bus.export(names.ROOT, Manager1(self._manager))
                self.refresh()
                await self._bus.request_name(names.BUS_NAME)
                await self._bus.wait_for_disconnect()
            except (OSError, EOFError, DBusError) as error:
                log.warning("no D-Bus service: %s", error)
            if self._bus and self._bus.connected:
                self._bus.disconnect()
            self._bus = None
            await asyncio.sleep(_RETRY_SECONDS)

    def refresh(self) -> None:
        """Make the objects show what is there now, with change signals."""
        if self._bus is None:
            return
        wanted = self._wanted()
        for path in self._objects.keys() - wanted.keys():
            self._bus.unexport(path, self._objects.pop(path))
        for path, value in wanted.items():
            if path in self._objects:
                self._objects[path].update(value)
                continue
            made = Lun1(value) if isinstance(value, status.LunStatus) else Session1(value)
            self._objects[path] = made
            self._bus.export(path, made)

    def _wanted(self) -> dict[str, status.LunStatus | status.SessionStatus]:
        view, config = self._manager.view(), self._manager.config
        found: dict[str, status.LunStatus | status.SessionStatus] = {}
        for session in status.sessions(view, config):
            found[_session_path(session.sid)] = session
        for lun in status.luns(view, config):
            if lun.wwid:
                found[_lun_path(lun.wwid)] = lun
        return found


def _not_an_answer(record: logging.LogRecord) -> bool:
    # Where it calls a method it puts the traceback into the text.
    failure = record.exc_info[1] if record.exc_info else sys.exc_info()[1]
    return not isinstance(failure, DBusError)


def _lun_path(wwid: str) -> str:
    return f"{names.ROOT}/luns/" + "".join(
        c if c.isascii() and c.isalnum() else f"_{ord(c):02x}" for c in wwid
    )


def _session_path(sid: int) -> str:
    return f"{names.ROOT}/sessions/{sid}"


def _variants(value: dict[str, object]) -> dict[str, Variant]:
    signature = {str: "s", bool: "b", int: "u", list: "as"}
    return {key: Variant(signature[type(member)], member) for key, member in value.items()}


def _reservation(made: status.ReservationStatus) -> dict[str, Variant]:
    return {
        "wwid": Variant("s", made.wwid),
        "volume": Variant("s", made.volume),
        "fencing": Variant("b", made.fencing),
        "phase": Variant("s", made.phase),
        "here": Variant("b", made.here),
        "can": Variant("s", made.can),
        **_holders(made.reservation),
    }


def _holding(made: Holding) -> dict[str, Variant]:
    name, wwid = Variant("s", made.name), Variant("s", str(made.wwid))
    return {"name": name, "wwid": wwid, **_holders(made.reservation)}


def _holders(found: Reservation) -> dict[str, Variant]:
    """Who holds a LUN, "" and 0 for nobody, since when (Unix time) and who else is registered."""
    holder = found.holder
    return {
        "holder": Variant("s", holder.initiator if holder else ""),
        "holder_key": Variant("t", holder.key if holder else 0),
        "since": Variant("t", reservation.since(holder.key) if holder else 0),
        "type": Variant("u", holder.type if holder else 0),
        "registrants": Variant("a(st)", [[r.initiator, r.key] for r in found.registrations]),
    }


def _comparison(made: Comparison) -> dict[str, Variant]:
    return {
        "volume": Variant("s", made.lun.volume or ""),
        "address": Variant("s", str(made.lun.address)),
        "pinned": Variant("as", [str(wwid) for wwid in made.pinned]),
        "found": Variant("s", str(made.found)),
        "size": Variant("t", made.size),
        "domains": Variant("as", list(made.domains)),
        "links": Variant("a(ss)", [list(link) for link in made.links]),
    }
