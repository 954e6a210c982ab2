"""Who may call what.

The bus itself lets in root and the group ``libvirt`` (io.github.kvmlun.conf). What only looks is
theirs; what does something is root's, and of the others it is whose polkit says so.
"""

from __future__ import annotations

import contextvars
from typing import Any

from dbus_next import DBusError, ErrorType, Message, MessageFlag, MessageType, Variant
from dbus_next.aio import MessageBus

from .. import names
from ..wait import within

# Actions; io.github.kvmlun.policy says what they are by default.
CONNECT = f"{names.BUS_NAME}.connect"
MANAGE = f"{names.BUS_NAME}.manage"
TAKE_OVER = f"{names.BUS_NAME}.take-over"

_ROOT = 0
_SECONDS = 10.0
_DIALOG_SECONDS = 120.0  # somebody may have to type a password
_INTERACTIVE = 1  # polkit's AllowUserInteraction
_POLKIT = "org.freedesktop.PolicyKit1"

# dbus-next does not tell a method who calls it.
_call: contextvars.ContextVar[tuple[MessageBus, Message]] = contextvars.ContextVar("call")


def listen(bus: MessageBus) -> None:
    """From now on remember each call while it is answered, for check()."""

    def remember(message: Message) -> None:
        _call.set((bus, message))

    bus.add_message_handler(remember)


async def check(action: str) -> None:
    """Return if whoever calls may do `action`; raises DBusError AccessDenied otherwise."""
    bus, call = _call.get()
    (uid,) = await _ask(bus, _SECONDS, Message(
        destination=names.DBUS, path="/org/freedesktop/DBus", interface=names.DBUS,
        member="GetConnectionUnixUser", signature="s", body=[call.sender],
    ))  # fmt: skip
    if uid == _ROOT:
        return
    dialog = bool(call.flags & MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION)
    subject = ["system-bus-name", {"name": Variant("s", call.sender)}]
    ((granted, would_ask, _),) = await _ask(bus, _DIALOG_SECONDS if dialog else _SECONDS, Message(
        destination=_POLKIT, path=f"/{_POLKIT.replace('.', '/')}/Authority",
        interface=f"{_POLKIT}.Authority", member="CheckAuthorization",
        signature="(sa{sv})sa{ss}us",
        body=[subject, action, {}, _INTERACTIVE if dialog else 0, ""],
    ))  # fmt: skip
    if not granted:
        remedy = "; it would, to who proves to be an administrator" if would_ask else ""
        raise _denied(f"polkit does not grant {action} to user {uid}{remedy}")


async def _ask(bus: MessageBus, seconds: float, message: Message) -> list[Any]:
    """Return the body of the answer; without one the caller may nothing, since nobody says so."""
    try:
        reply = await within(bus.call(message), seconds)
    except TimeoutError:
        raise _denied(f"{message.destination} does not answer; only root may") from None
    if reply is None or reply.message_type is MessageType.ERROR:
        why = reply.body[0] if reply and reply.body else "no answer"
        raise _denied(f"{message.destination} does not say who may ({why}); root may")
    return list(reply.body)


def _denied(text: str) -> DBusError:
    return DBusError(ErrorType.ACCESS_DENIED, text)
