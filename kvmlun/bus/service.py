"""kvmlund on the system bus: the name, and an object for every LUN and session."""

from __future__ import annotations

import asyncio
import logging

from dbus_next import BusType, DBusError, Message, MessageType
from dbus_next.aio import MessageBus

from .. import names, status
from ..manager import Manager
from . import access, calls, objects
from .logcontrol import LogControl1
from .manager1 import Manager1

log = logging.getLogger("kvmlun.dbus")

_RETRY_SECONDS = 5.0
_Value = Manager | status.LunStatus | status.SessionStatus  # what an object shows


class _Bus(MessageBus):
    """Sends no signal before it has its name, by which the bus knows who may hear it.

    dbus-next tells of a new object as that object. Its manager is who has to: clients listen to
    that one alone (D-Bus specification, org.freedesktop.DBus.ObjectManager).
    """

    def __init__(self) -> None:
        super().__init__(bus_type=BusType.SYSTEM)
        self._is_named = False
        self.add_message_handler(self._hear)

    def _hear(self, message: Message) -> None:
        said = message.sender, message.member, message.body
        if said == (names.DBUS, "NameAcquired", [names.BUS_NAME]):
            self._is_named = True

    def send(self, msg: Message) -> asyncio.Future[None]:
        if msg.message_type is MessageType.SIGNAL:
            if not self._is_named:
                unsent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                unsent.set_result(None)
                return unsent
            if msg.interface == names.OBJECT_MANAGER:
                msg.path = names.ROOT
        sent: asyncio.Future[None] = super().send(msg)
        return sent


class Service:
    """Keeps the bus name, and the objects as they should be."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._bus: MessageBus | None = None
        self._objects: dict[str, objects.Shown] = {}
        calls.quiet_answers()

    async def run(self) -> None:
        """Serve for ever; a system bus that is not there (yet) keeps nothing else waiting."""
        while True:
            try:
                await self._serve()
            except (OSError, EOFError, DBusError) as error:
                log.warning("no D-Bus service: %s", error)
            if self._bus and self._bus.connected:
                self._bus.disconnect()
            self._bus = None
            await asyncio.sleep(_RETRY_SECONDS)

    async def _serve(self) -> None:
        self._bus = await _Bus().connect()
        access.listen(self._bus)
        self._objects = {}
        self._bus.export(names.LOG_CONTROL_PATH, LogControl1(None))
        self.refresh()
        await self._bus.request_name(names.BUS_NAME)
        await self._bus.wait_for_disconnect()

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
            else:
                self._objects[path] = self._object(value)
                self._bus.export(path, self._objects[path])

    def _wanted(self) -> dict[str, _Value]:
        view, config = self._manager.world.view(), self._manager.config
        found: dict[str, _Value] = {names.ROOT: self._manager}
        for session in status.sessions(view, config):
            found[objects.session_path(session.sid)] = session
        for lun in status.luns(view, config):
            if lun.wwid:
                found[objects.lun_path(lun.wwid)] = lun
        return found

    def _object(self, value: _Value) -> objects.Shown:
        if isinstance(value, status.LunStatus):
            return objects.Lun1(value)
        if isinstance(value, status.SessionStatus):
            return objects.Session1(value)
        return Manager1(value, self.refresh)
