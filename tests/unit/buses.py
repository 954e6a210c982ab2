"""A bus of a test's own, and somebody on it who asks and listens."""

import asyncio
import contextlib
import subprocess
from pathlib import Path
from types import SimpleNamespace

from dbus_next import BusType, Message, MessageType
from dbus_next.aio import MessageBus

from kvmlun import errors, names
from kvmlun.actions import Left
from kvmlun.bus import access
from kvmlun.bus.service import Service
from kvmlun.bus.values import plain
from kvmlun.config import Config, Settings
from kvmlun.drain import Drain
from kvmlun.lun import Lun

from .worlds import LUN, TARGET, disk, session, view

_BUS = "org.freedesktop.DBus"
_POLKIT = "org.freedesktop.PolicyKit1"
_SECONDS = 5


@contextlib.contextmanager
def bus(monkeypatch):
    """A real one, which takes the place of the system's."""
    argv = ["dbus-daemon", "--session", "--nofork", "--print-address=1"]
    daemon = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", daemon.stdout.readline().strip())
        yield
    finally:
        daemon.terminate()
        daemon.wait()


class Asker:
    """Has heard `signals` of the service as (path, member, body)."""

    def __init__(self, connection):
        self._connection = connection
        self._heard = asyncio.Event()
        self.signals = []
        self.served = asyncio.Event()
        self.name = connection.unique_name
        connection.add_message_handler(self._hear)

    def _hear(self, message):
        if message.member == "NameOwnerChanged" and message.body[0] == names.BUS_NAME:
            self.served.set()
        elif message.message_type is MessageType.SIGNAL and message.sender != _BUS:
            self.signals.append((message.path, message.member, plain(message.body)))
            self._heard.set()

    async def listen(self):
        signals = (f"path_namespace='{names.ROOT}'", f"path='{names.LOG_CONTROL_PATH}'")
        for rule in (*signals, "member='NameOwnerChanged'"):
            made = Message(_BUS, f"/{_BUS.replace('.', '/')}", _BUS, "AddMatch",
                           signature="s", body=[f"type='signal',{rule}"])  # fmt: skip
            await self._connection.call(made)

    async def call(self, interface, member, signature="", *body, path=names.ROOT):
        """Return what is answered, or the error's name and text."""
        made = Message(
            names.BUS_NAME, path, interface, member, signature=signature, body=list(body)
        )
        reply = await asyncio.wait_for(self._connection.call(made), _SECONDS)
        if reply.message_type is MessageType.ERROR:
            return reply.error_name, reply.body[0]
        return plain(reply.body[0]) if reply.body else None

    async def heard(self, number):
        """Wait for so many signals in all, and return them."""
        while len(self.signals) < number:
            self._heard.clear()
            await asyncio.wait_for(self._heard.wait(), _SECONDS)
        return self.signals


class Manager:
    """As much of kvmlun.manager.Manager as its facade needs."""

    def __init__(self):
        volume = Lun(LUN.wwid, LUN.address, LUN.portals, volume="vm1-0")
        self.config = Config(Settings(), {"vm1-0": volume})
        self.problem = ""  # of its configuration
        self.domains = SimpleNamespace(problem="")
        self.guard = SimpleNamespace(suspended=[])
        self.fencing_problems = []
        self.drain = Drain(Path("/nowhere"))
        self.traces = SimpleNamespace(waiting=())
        self.here = [session(1, disk())]
        self.added = {}

        self.actions = self.connections = self.world = self.configuration = self

    def renew(self, volume, owner, ttl):
        self.renewed = (volume, owner, ttl)

    async def all_due(self):
        return [Left("remove-disk", TARGET, "/dev/sda", 3.2, "")]

    def view(self):
        return view(*self.here, owned=[1])

    def add_volume(self, name, volume):
        self.added[name] = volume

    def remove_volume(self, name):
        raise errors.Refused(f"{name} is in use")

    def read(self):
        self.problem = "kvmlun.yaml:1: no"
        raise errors.Config(self.problem)


class Polkit:
    """Grants some actions to all, the others to administrators; has `asked` the caller's name
    with each."""

    def __init__(self, *granted):
        self.granted, self.asked = granted, []

    async def serve(self, connection):
        connection.add_message_handler(self._answer)
        await connection.request_name(_POLKIT)

    def _answer(self, message):
        if message.member != "CheckAuthorization":
            return None
        (kind, about), action, _, flags, _ = plain(message.body)
        assert (kind, flags) == ("system-bus-name", 0)
        self.asked.append((about["name"], action))
        granted = action in self.granted
        return Message.new_method_return(message, "(bba{ss})", [[granted, not granted, {}]])


ALL = access.CONNECT, access.MANAGE, access.TAKE_OVER


@contextlib.asynccontextmanager
async def serving(manager, polkit=None):
    """A service on the bus, and an Asker; a polkit that grants all if the test has no other."""
    connection = await MessageBus(bus_type=BusType.SYSTEM).connect()
    asker, service = Asker(connection), Service(manager)
    await (polkit or Polkit(*ALL)).serve(connection)
    await asker.listen()
    running = asyncio.ensure_future(service.run())
    try:
        await asyncio.wait_for(asker.served.wait(), _SECONDS)
        yield service, asker
    finally:
        running.cancel()
        connection.disconnect()
