"""Asking kvmlund over D-Bus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dbus_next import BusType, Message, MessageType, Variant
from dbus_next.aio import MessageBus

from . import errors, names, reservation
from .bus.values import plain, variants
from .wait import within

_SECONDS = 20.0
_CONNECT_SECONDS = 120.0  # above the daemon's own limit
_KINDS = {
    kind.name: kind
    for kind in (errors.Refused, errors.Storage, errors.Timeout, errors.Config, errors.Invalid,
                 errors.Unknown, errors.Error)
}  # fmt: skip


class Client:
    """A connection to the daemon. Methods raise errors.Error, Unreachable without a daemon."""

    async def __aenter__(self) -> Client:
        try:
            self._bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
            self.is_served = True  # as long as listen() hears nothing else
        except OSError as error:
            raise errors.Unreachable(f"the D-Bus system bus does not answer: {error}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        self._bus.disconnect()

    async def status(self, reservations: bool = True) -> dict[str, Any]:
        """Return ``luns`` and ``sessions`` as lists of plain dicts, and the daemon's state.

        Without `reservations` no target is asked for them. Whatever targets do, the rest is told,
        and ``reservations_problem`` why these can't be.
        """
        made = await self._call(names.ROOT, names.OBJECT_MANAGER, "GetManagedObjects")
        objects = plain(made).values()
        made = await self._call(names.ROOT, names.PROPERTIES, "GetAll", "s", names.MANAGER)
        manager = plain(made)
        held, problem = await self._held() if reservations else ([], "")
        return {
            "version": manager["Version"],
            "libvirt_problem": manager["LibvirtProblem"],
            "config_problem": manager["ConfigProblem"],
            "suspended": manager["Suspended"],
            "fencing_problems": manager["FencingProblems"],
            "drained_since": manager["DrainedSince"],
            "waiting": [_waiting(each) for each in manager["Waiting"]],
            "reservations": held,
            "reservations_problem": problem,
            "luns": sorted(
                (_snake(i[names.LUN]) for i in objects if names.LUN in i),
                key=lambda lun: (lun["volume"], lun["wwid"]),
            ),
            "sessions": sorted(
                (_snake(i[names.SESSION]) for i in objects if names.SESSION in i),
                key=lambda session: session["id"],
            ),
        }

    async def drained_since(self) -> int:
        """Return since when this host is drained (Unix time), 0 where it is not."""
        return int(await self._property("DrainedSince"))

    async def holders(self) -> list[str]:
        """Return who has LUNs on this host, at this moment."""
        return list(plain(await self._manager("ListHolders")))

    async def drain(self) -> None:
        """Have this host take no more LUNs."""
        await self._manager("Drain")

    async def resume(self) -> None:
        """Let LUNs come here again."""
        await self._manager("Resume")

    async def reservations(self) -> list[dict[str, Any]]:
        """Return what the target of each LUN that is here says of it at this moment."""
        return [_holders(each) for each in plain(await self._manager("ListReservations"))]

    async def _held(self) -> tuple[list[dict[str, Any]], str]:
        try:
            return await self.reservations(), ""
        except errors.Error as problem:
            return [], str(problem)

    async def waiting(self) -> list[dict[str, Any]]:
        """Return what operations that take long are waiting for."""
        return [_waiting(each) for each in await self._property("Waiting")]

    async def explain(self, vm: str) -> dict[str, Any]:
        """Return what a start of a VM would do, and what was done for it."""
        return _explanation(plain(await self._manager("Explain", "s", vm, seconds=60.0)))

    async def listen(self, heard: Callable[[], None]) -> None:
        """Call `heard` from now on after each signal of the daemon's, and when it comes or goes."""
        rules = (f"sender='{names.BUS_NAME}'", f"member='NameOwnerChanged',arg0='{names.BUS_NAME}'")

        def hear(message: Message) -> None:
            if message.message_type is MessageType.SIGNAL:
                if (message.sender, message.member) == (names.DBUS, "NameOwnerChanged"):
                    self.is_served = bool(message.body[2])
                heard()

        self._bus.add_message_handler(hear)
        for rule in rules:
            await self._bus.call(Message(
                destination=names.DBUS, path="/org/freedesktop/DBus", interface=names.DBUS,
                member="AddMatch", signature="s", body=[f"type='signal',{rule}"],
            ))  # fmt: skip

    async def give_up(self, vm: str) -> None:
        """Let go of what was taken over for a VM."""
        await self._manager("GiveUp", "s", vm)

    async def compare_holders(self, vm: str) -> list[dict[str, Any]]:
        """Return who holds the fenced LUNs of a VM that is to run here."""
        made = await self._manager("CompareHolders", "s", vm, seconds=_CONNECT_SECONDS)
        return [_holders(each) for each in plain(made)]

    async def stop_comparing(self, vm: str) -> None:
        """Let go of what compare_holders() has brought, unless it was taken over."""
        await self._manager("StopComparing", "s", vm)

    async def take_over(self, vm: str, rivals: Mapping[str, Iterable[str]]) -> list[str]:
        """Take the LUNs over from those keys; returns a line for each."""
        keys = {wwid: [int(key, 16) for key in each] for wwid, each in rivals.items()}
        made = await self._manager("TakeOver", "sa{sat}", vm, keys, seconds=_CONNECT_SECONDS)
        return list(plain(made))

    async def log_level(self) -> str:
        return str(plain(await self._log_level("Get")))

    async def set_log_level(self, level: str) -> None:
        """Set it until the daemon ends."""
        await self._log_level("Set", Variant("s", level))

    async def _log_level(self, member: str, *value: Variant) -> Any:
        signature = "ss" + "v" * len(value)
        body = (names.LOG_CONTROL, "LogLevel", *value)
        return await self._call(names.LOG_CONTROL_PATH, names.PROPERTIES, member, signature, *body)

    async def volumes(self) -> list[dict[str, Any]]:
        return list(plain(await self._manager("ListVolumes")))

    async def volume(self, name: str) -> dict[str, Any]:
        return dict(plain(await self._manager("GetVolume", "s", name)))

    async def add_volume(self, name: str, volume: Mapping[str, Any]) -> None:
        """Add a volume; its keys are those of the schema."""
        await self._manager("AddVolume", "sa{sv}", name, variants(volume))

    async def remove_volume(self, name: str) -> None:
        await self._manager("RemoveVolume", "s", name)

    async def compare_pin(self, what: str) -> dict[str, Any]:
        """Compare what is pinned for a volume, or at a by-path link, with what is there."""
        return dict(plain(await self._manager("ComparePin", "s", what)))

    async def repin(self, what: str, wwid: str) -> dict[str, Any]:
        """Pin the LUN that is there, if it is `wwid`."""
        return dict(plain(await self._manager("Repin", "ss", what, wwid)))

    async def connect_volume(self, name: str, owner: str, ttl: int) -> str:
        """Return the link to the disk; `ttl` in seconds, 0 for no end."""
        return str(
            await self._manager("Connect", "ssu", name, owner, ttl, seconds=_CONNECT_SECONDS)
        )

    async def disconnect_volume(self, name: str, owner: str) -> None:
        await self._manager("Disconnect", "ss", name, owner)

    async def _manager(
        self, member: str, signature: str = "", *body: object, seconds: float = _SECONDS
    ) -> Any:
        return await self._call(
            names.ROOT, names.MANAGER, member, signature, *body, seconds=seconds
        )

    async def _property(self, name: str) -> Any:
        body = (names.MANAGER, name)
        return plain(await self._call(names.ROOT, names.PROPERTIES, "Get", "ss", *body))

    async def _call(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        *body: object,
        seconds: float = _SECONDS,
    ) -> Any:
        message = Message(
            destination=names.BUS_NAME, path=path, interface=interface, member=member,
            signature=signature, body=list(body),
        )  # fmt: skip
        try:
            reply = await within(self._bus.call(message), seconds)
        except TimeoutError:
            raise errors.Unreachable(f"kvmlund did not answer within {seconds:.0f} s") from None
        except UnicodeEncodeError as error:
            raise errors.Invalid(f"{error.object[:80]!r} is no UTF-8") from None
        if reply is None:
            raise errors.Unreachable("kvmlund gave no answer")
        if reply.message_type is MessageType.ERROR:
            raise _error(reply)
        return reply.body[0] if reply.body else None


def _error(reply: Message) -> errors.Error:
    text = str(reply.body[0]) if reply.body else reply.error_name
    if reply.error_name.startswith(names.ERROR):
        return _KINDS.get(reply.error_name.removeprefix(names.ERROR), errors.Error)(text)
    if reply.error_name == "org.freedesktop.DBus.Error.AccessDenied":
        if reply.sender != names.DBUS:
            return errors.Unreachable(text)
        return errors.Unreachable("this is for root; the group libvirt may look, and ask for LUNs")
    return errors.Unreachable(f"kvmlund does not answer: {text}; see systemctl status kvmlund")


def _holders(found: dict[str, Any]) -> dict[str, Any]:
    """Keys as text, "" for nobody's: not everything that reads JSON has 64 bits for a number."""
    key = found["holder_key"]
    return {
        **found,
        "holder_key": reservation.key_text(key) if key else "",
        "registrants": [
            {"initiator": name, "key": reservation.key_text(each)}
            for name, each in found["registrants"]
        ],
    }


def _waiting(made: list[Any]) -> dict[str, Any]:
    return dict(zip(("operation", "subject", "step", "since"), made, strict=True))


def _explanation(made: dict[str, Any]) -> dict[str, Any]:
    lines = [dict(zip(("disk", "verdict", "text"), each, strict=True)) for each in made["lines"]]
    operations = [
        {
            **each,
            "steps": [
                {"text": text, "after": after, "seconds": None if seconds < 0 else seconds}
                for text, after, seconds in each["steps"]
            ],
        }
        for each in made["operations"]
    ]
    return {**made, "lines": lines, "operations": operations}


def _snake(properties: dict[str, Any]) -> dict[str, Any]:
    return {name.lower(): value for name, value in properties.items()}
