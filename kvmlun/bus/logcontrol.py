"""org.freedesktop.LogControl1(5): the log level, as systemctl and kvmlun get and set it."""

from __future__ import annotations

from typing import ClassVar

from .. import journal, names
from .objects import Shown, Table


class LogControl1(Shown):
    """Shows nothing but what the interface asks for. Only root may set a property, says the bus."""

    interface = names.LOG_CONTROL
    table: ClassVar[Table] = {
        "LogLevel": ("s", lambda _: journal.level()),
        "LogTarget": ("s", lambda _: "journal"),
        "SyslogIdentifier": ("s", lambda _: journal.IDENTIFIER),
    }
    writers = {"LogLevel": journal.set_level}
