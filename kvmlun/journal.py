"""Where kvmlund's log goes, and how much of it: the journal, with fields, or stderr without one."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from . import errors, events, names

IDENTIFIER = "kvmlund"

# logging itself has no notice, alert and emerg.
LEVELS = dict(zip(names.LOG_LEVELS, (10, 20, 25, 30, 40, 50, 60, 70), strict=True))

_FIELDS = {"PRIORITY", "MESSAGE_ID", "SYSLOG_IDENTIFIER", "LOGGER"}
_FIELDS |= {"CODE_FILE", "CODE_LINE", "CODE_FUNC"}

log = logging.getLogger("kvmlun")


class Printable(logging.Formatter):
    """Makes one printable line of each message, whatever names from outside are in it.

    A traceback keeps its lines.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        return errors.one_line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return "\n".join(map(errors.printable, super().formatException(ei).splitlines()))


def begin() -> None:
    """Log from now on, without what is for debugging."""
    logging.basicConfig(level=logging.INFO, handlers=[_handler()])
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def level() -> str:
    """Return the name of the least level that is logged."""
    number = logging.getLogger().level
    return next(name for name, value in LEVELS.items() if value >= number)


def set_level(name: str) -> None:
    """Log what is at least as grave, until kvmlund ends; raises errors.Invalid."""
    if name not in LEVELS:
        raise errors.Invalid(f"no log level {name[:20]}: one of {', '.join(LEVELS)}")
    root = logging.getLogger()
    root.setLevel(min(root.level, LEVELS[name]))
    log.info("the log level is %s", name, extra=events.LOG_LEVEL())
    root.setLevel(LEVELS[name])


def _handler() -> logging.Handler:
    if not _is_journal():
        made: logging.Handler = logging.StreamHandler()
        made.setFormatter(Printable("%(name)s: %(message)s"))
        return made
    from systemd.journal import JournalHandler

    made = JournalHandler(sender_function=send, SYSLOG_IDENTIFIER=IDENTIFIER)
    made.setFormatter(Printable("%(message)s"))
    made.addFilter(add_context)
    return made


def _is_journal() -> bool:
    """Tell whether stderr goes there, as systemd.exec(5) says: JOURNAL_STREAM."""
    stderr = os.fstat(sys.stderr.fileno())
    return os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"


def add_context(record: logging.LogRecord) -> bool:
    """Have a record say what is about to be done, where its line does not say it itself."""
    record.__dict__ |= {**events.current(), **record.__dict__}
    return True


def send(message: str, /, **fields: Any) -> None:
    """Send a line to the journal, without what else logging and its handler know of it: arguments
    and tracebacks as they came."""
    from systemd.journal import send as send_fields

    kept = {name: value for name, value in fields.items() if name in _FIELDS or _is_ours(name)}
    send_fields(message, **kept)


def _is_ours(name: str) -> bool:
    return name.startswith("KVMLUN_")
