"""Objects on D-Bus that show a value, and signal which of its properties have changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from dbus_next import DBusError, PropertyAccess
from dbus_next.service import ServiceInterface, dbus_property

from .. import errors, names

# Name, D-Bus signature and value of each property of an object.
Table = dict[str, tuple[str, Callable[[Any], Any]]]


class Shown(ServiceInterface):
    """Shows the value that it was given last. Its properties are those of its `table`.

    Those in `writers` can be set as well, by calling these; they raise errors.Error.
    """

    interface: ClassVar[str]
    table: ClassVar[Table]
    writers: ClassVar[dict[str, Callable[[Any], None]]] = {}

    def __init_subclass__(cls) -> None:
        for name, (signature, read) in cls.table.items():
            write = cls.writers.get(name)
            access = PropertyAccess.READWRITE if write else PropertyAccess.READ
            made = dbus_property(access)(_getter(name, signature, read))
            setattr(cls, name, made.setter(_setter(name, write)) if write else made)

    def __init__(self, value: Any) -> None:
        super().__init__(self.interface)
        self.value = value
        self._told = self._current()

    def update(self, value: Any) -> None:
        """Show `value` from now on, and signal what is not as it was told last."""
        self.value = value
        before, self._told = self._told, self._current()
        changed = {name: new for name, new in self._told.items() if new != before[name]}
        if changed:
            self.emit_properties_changed(changed)

    def _current(self) -> dict[str, Any]:
        return {name: read(self.value) for name, (_, read) in self.table.items()}


def _getter(name: str, signature: str, read: Callable[[Any], Any]) -> Callable[[Shown], Any]:
    def getter(self: Shown) -> Any:
        return read(self.value)

    getter.__name__ = name
    getter.__annotations__ = {"return": signature}
    return getter


def _setter(name: str, write: Callable[[Any], None]) -> Callable[[Shown, Any], None]:
    def setter(self: Shown, value: Any) -> None:
        try:
            write(value)
            self.update(self.value)
        except errors.Error as error:
            raise DBusError(names.ERROR + error.name, str(error)) from error

    setter.__name__ = name
    return setter


class Lun1(Shown):
    interface = names.LUN
    table: ClassVar[Table] = {
        "Wwid": ("s", lambda lun: lun.wwid),
        "Volume": ("s", lambda lun: lun.volume),
        "Target": ("s", lambda lun: lun.target),
        "Lun": ("u", lambda lun: lun.lun),
        "Portals": ("as", lambda lun: list(lun.portals)),
        "Device": ("s", lambda lun: lun.device),
        "Link": ("s", lambda lun: lun.link),
        "Size": ("t", lambda lun: lun.size),
        "Sessions": ("ao", lambda lun: [session_path(sid) for sid in lun.sessions]),
        "Domains": ("as", lambda lun: list(lun.domains)),
        "State": ("s", lambda lun: lun.state),
        "Key": ("s", lambda lun: lun.key),
    }


class Session1(Shown):
    interface = names.SESSION
    table: ClassVar[Table] = {
        "Id": ("u", lambda session: session.sid),
        "Target": ("s", lambda session: session.target),
        "Portal": ("s", lambda session: session.portal),
        "Iface": ("s", lambda session: session.iface),
        "State": ("s", lambda session: session.state),
        "Owned": ("b", lambda session: session.owned),
    }


def session_path(sid: int) -> str:
    return f"{names.ROOT}/sessions/{sid}"


def lun_path(wwid: str) -> str:
    """Return the path of a LUN: what may not stand in an element of a path stands as its code."""
    return f"{names.ROOT}/luns/" + "".join(
        c if c.isascii() and c.isalnum() else f"_{ord(c):02x}" for c in wwid
    )
