"""What kvmlund has told the journal, read back: what happened, not what was for debugging."""

from __future__ import annotations

import glob
import os
import select
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from . import errors, events

UNIT = "kvmlund.service"
_FILES = ("/var/log/journal/*/system.journal", "/run/log/journal/*/system.journal")


@dataclass(frozen=True)
class Told:
    """An event. `at` is local time, `priority` is syslog's number; what is not known is ""."""

    at: datetime
    priority: int
    id: str
    domain: str
    wwid: str
    operation: str
    text: str

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Told:
        """Make one of a journal's entry, as systemd's Reader converts it."""
        return cls(
            at=fields["__REALTIME_TIMESTAMP"],
            priority=int(fields.get("PRIORITY", 6)),
            id=getattr(fields.get("MESSAGE_ID"), "hex", ""),
            domain=_text(fields, "KVMLUN_DOMAIN"),
            wwid=_text(fields, "KVMLUN_WWID"),
            operation=_text(fields, "KVMLUN_OPERATION"),
            text=errors.one_line(_text(fields, "MESSAGE")),
        )


def _text(fields: Mapping[str, Any], name: str) -> str:
    # What is not UTF-8 comes as bytes, and a field that was given twice as a list.
    value = fields.get(name, "")
    return value if isinstance(value, str) else str(value)


class EventLog:
    """The events of a VM or a LUN, or all; of the system's journal, or the one in `folder`.

    Raises errors.Unreachable for who may not read them.
    """

    def __init__(self, domain: str = "", wwid: str = "", folder: str | None = None) -> None:
        from systemd import journal

        files = [path for pattern in _FILES for path in glob.glob(pattern)]
        if folder is None and files and not any(os.access(path, os.R_OK) for path in files):
            raise errors.Unreachable(
                "the system's journal is for root and the groups adm and systemd-journal"
            )
        self._reader = journal.Reader(path=folder)
        # A match of the same field is another choice, one of another field a condition more.
        self._reader.add_match(_SYSTEMD_UNIT=UNIT)
        for known in vars(events).values():
            if isinstance(known, events.Event):
                self._reader.add_match(MESSAGE_ID=known.id)
        for field, value in events.fields(domain, wwid, "").items():
            self._reader.add_match(f"{field}={value}")

    def last(self, number: int) -> list[Told]:
        """Return the last events, the oldest first."""
        found: list[dict[str, Any]] = []
        self._reader.seek_tail()
        while len(found) < number and (entry := self._reader.get_previous()):
            found.append(entry)
        # What follow() begins behind.
        if found:
            self._reader.seek_cursor(found[0]["__CURSOR"])
            self._reader.get_next()
        else:
            self._reader.get_previous()
        return [Told.of(entry) for entry in reversed(found)]

    def follow(self) -> Iterator[Told]:
        """Yield what is told from the last call of last() on, for ever."""
        poll = select.poll()
        poll.register(self._reader, self._reader.get_events())
        while True:
            yield from map(Told.of, self._reader)
            timeout = self._reader.get_timeout_ms()
            poll.poll(None if timeout < 0 else timeout)
            self._reader.process()
