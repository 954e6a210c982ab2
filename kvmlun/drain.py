"""A host that is drained: what runs here goes on, and no more LUNs come."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from . import errors, events, statefile

log = logging.getLogger("kvmlun.drain")

FILE = Path("/var/lib/kvmlun/drained")


class Drain:
    """Kept in a file alone, so that it outlives kvmlund and a reboot in between.

    The file's time is since when. There is nothing in it, so that nothing of it can be wrong.
    """

    def __init__(self, file: Path = FILE) -> None:
        self._file = file

    @property
    def since(self) -> float | None:
        """Unix time, None while the host is not drained."""
        try:
            return self._file.stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None

    def begin(self) -> None:
        """Raises errors.Storage; a host that is drained already stays so since then."""
        if self.since is None:
            statefile.replace(self._file, "")
            log.warning(
                "this host is drained from now on; kvmlun host resume ends that",
                extra=events.DRAINED(),
            )

    def end(self) -> None:
        """Raises errors.Storage."""
        if self.since is not None:
            statefile.remove(self._file)
            log.info("this host is not drained any more", extra=events.RESUMED())

    def refuse(self) -> None:
        """Raise errors.Drained while the host is drained: a LUN was to come."""
        if (since := self.since) is not None:
            began = time.strftime("%Y-%m-%d %H:%M", time.localtime(since))
            raise errors.Drained(
                f"this host is drained since {began}, so no LUN comes here; to end that: "
                "kvmlun host resume"
            )
