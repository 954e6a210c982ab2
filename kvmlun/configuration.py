"""What of /etc/kvmlun is in force: the last that was good."""

from __future__ import annotations

import logging
from collections.abc import Callable

from . import config, errors, events
from .config import Config, Settings

log = logging.getLogger("kvmlun.configuration")


class Configuration:
    """`problem` is why the files are not in force as they are now, "" if they are.

    `changed` is called when they have been read.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.current = Config(Settings(), {})
        self.problem = ""
        self._changed = changed
        self._was_good = False

    def read(self) -> None:
        """Read them; a bad file keeps what was read before. Raises errors.Error.

        Without any configuration that was ever good no VM starts, since what it
        would have pinned is unknown; running ones, and ``status``, go on.
        """
        try:
            self.current = config.load()
            self._was_good = True
            config.write_wwids(self.current)
        except errors.Error as error:
            self.problem = str(error)
            log.error("%s", error, extra=events.CONFIG_WRONG())
            raise
        self.problem = ""
        count = len(self.current.volumes)
        volumes = "volume" if count == 1 else "volumes"
        log.info("%d %s in /etc/kvmlun", count, volumes, extra=events.CONFIG_READ())
        self._changed()

    def require(self) -> None:
        """Raise errors.Config if it was never good."""
        if not self._was_good:
            raise errors.Config(self.problem)
