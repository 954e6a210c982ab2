"""A bus of a test's own, and somebody on it who asks and listens."""

import asyncio
import contextlib
import subprocess

from dbus_next import BusType, Message, MessageType
from dbus_next.aio import MessageBus

from kvmlun import names
from kvmlun.bus.service import Service
from kvmlun.bus.values import plain

_BUS = "org.freedesktop.DBus"
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
    """Has heard `signals` as (path, member, body) since the service had its name."""

    def __init__(self, connection):
        self._connection = connection
        self._heard = asyncio.Event()
        self.signals = []
        self.served = asyncio.Event()
        connection.add_message_handler(self._hear)

    def _hear(self, message):
        if message.member == "NameOwnerChanged" and message.body[0] == names.BUS_NAME:
            self.served.set()
        elif message.message_type is MessageType.SIGNAL and self.served.is_set():
            self.signals.append((message.path, message.member, plain(message.body)))
            self._heard.set()

    async def listen(self):
        for rule in (f"path_namespace='{names.ROOT}'", "member='NameOwnerChanged'"):
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


@contextlib.asynccontextmanager
async def serving(manager):
    """A service on the bus, and an Asker."""
    connection = await MessageBus(bus_type=BusType.SYSTEM).connect()
    asker, service = Asker(connection), Service(manager)
    await asker.listen()
    running = asyncio.ensure_future(service.run())
    try:
        await asyncio.wait_for(asker.served.wait(), _SECONDS)
        yield service, asker
    finally:
        running.cancel()
        connection.disconnect()
