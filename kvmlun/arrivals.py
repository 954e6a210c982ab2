"""Migrations that were announced to this host: a ``migrate`` hook, and what may follow it.

An announcement lets ``prepare`` go on while the source of the migration holds a fenced LUN. That
of such a domain is kept in /run, where the hook looks whether it has to ask at ``started``, too.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import hookproto, statefile
from .leases import boottime

FOLDER = Path(hookproto.ARRIVING)
# prepare follows the migrate hook of the same migration within this time.
SECONDS = 120.0


@dataclass(frozen=True)
class Arrival:
    """A domain that may arrive, and when (boottime() seconds) its ``migrate`` hook came."""

    uuid: str
    asked: float


class Arrivals:
    """In memory and in /run. Raises errors.Storage if one can't be written."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._arrivals = {a.uuid: a for _, a in statefile.read_all(folder, _arrival)}

    def announce(self, uuid: str, fenced: bool) -> None:
        arrival = Arrival(uuid, boottime())
        if fenced:
            statefile.write(self._folder / uuid, asdict(arrival), sync=False)
        self._arrivals[uuid] = arrival

    def is_announced(self, uuid: str, began: float) -> bool:
        """Tell whether a hook that `began` then belongs to a migration."""
        arrival = self._arrivals.get(uuid)
        return arrival is not None and began - arrival.asked < SECONDS

    def expired(self) -> tuple[str, ...]:
        """Return the domains whose announcement is over."""
        now = boottime()
        return tuple(a.uuid for a in self._arrivals.values() if now - a.asked >= SECONDS)

    def end(self, uuid: str, asked: float = math.inf) -> None:
        """What starts from now on is no arrival; not so if it was announced after `asked`."""
        arrival = self._arrivals.get(uuid)
        if arrival and arrival.asked <= asked:
            del self._arrivals[uuid]
            statefile.remove(self._folder / uuid)


def _arrival(value: dict[str, Any]) -> Arrival:
    return Arrival(**statefile.fields(Arrival, value))
