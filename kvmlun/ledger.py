"""What on this host is ours: sessions and node records that kvmlun made.

An entry is written before the thing it speaks of is made, so that after a
crash at any moment something still knows that it was ours. Entries live in
/var/lib because a node record survives a reboot; sessions do not, so an
entry's session only counts within the boot that made it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from . import statefile
from .lun import Portal
from .sysfs import Session

FOLDER = Path("/var/lib/kvmlun/owned")


@dataclass(frozen=True)
class Entry:
    """A session (from the boot `boot_id`) that is ours, and with it any node record of ours.

    `sid` is 0 between the intent and the end of the login: then any session of
    that target and portal is the one, since there was none when it was written.
    `ending` is set before its end is asked for: iscsid may do it at any later time.
    """

    target: str
    host: str
    port: int
    boot_id: str
    sid: int = 0
    ending: bool = False
    iface: str = ""

    @property
    def portal(self) -> Portal:
        return Portal(self.host, self.port, self.iface)

    @property
    def key(self) -> tuple[str, Portal]:
        return self.target, self.portal


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class Ledger:
    """All entries, in memory and on disk. Raises errors.Storage if it can't be written."""

    def __init__(self, folder: Path = FOLDER, boot: str | None = None) -> None:
        self._folder = folder
        self._boot = boot or boot_id()
        self._entries: dict[tuple[str, Portal], Entry] = {}
        for _, entry in statefile.read_all(folder, _entry):
            self._entries[entry.key] = entry

    @property
    def entries(self) -> tuple[Entry, ...]:
        return tuple(self._entries.values())

    def find(self, target: str, portal: Portal) -> Entry | None:
        return self._entries.get((target, portal))

    def intend(self, target: str, portal: Portal) -> None:
        """Note that a session is about to be made."""
        self._put(Entry(target, portal.host, portal.port, self._boot, iface=portal.iface))

    def made(self, session: Session) -> None:
        """Note which session came of the intent, or stays after all."""
        self._note(session, ending=False)

    def ending(self, session: Session) -> None:
        """Note that the end of a session is about to be asked for."""
        self._note(session, ending=True)

    def is_ending(self, session: Session) -> bool:
        """Tell whether a session may end at any moment, so that nobody may begin to use it."""
        entry = session.portal and self.find(session.target, session.portal)
        return bool(entry and entry.ending and self.owns(session))

    def _note(self, session: Session, ending: bool) -> None:
        if session.portal and (entry := self.find(session.target, session.portal)):
            # A session does not outlive a power cut, so what is known of it need not either.
            self._put(replace(entry, sid=session.sid, ending=ending), sync=False)

    def forget(self, entry: Entry) -> None:
        statefile.remove(self._path(entry))
        self._entries.pop(entry.key, None)

    def owns(self, session: Session) -> bool:
        """Tell whether kvmlun made this session."""
        entry = session.portal and self.find(session.target, session.portal)
        return bool(entry and entry.boot_id == self._boot and entry.sid in (0, session.sid))

    def _put(self, entry: Entry, sync: bool = True) -> None:
        statefile.write(self._path(entry), asdict(entry), sync)
        self._entries[entry.key] = entry

    def _path(self, entry: Entry) -> Path:
        iface = entry.iface and f",{entry.iface}"
        return self._folder / f"{entry.target}@{entry.host},{entry.port}{iface}.json"


def _entry(value: dict[str, Any]) -> Entry:
    return Entry(**statefile.fields(Entry, value))
