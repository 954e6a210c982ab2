"""The file of metrics in a folder that node_exporter's textfile collector reads."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from . import errors

# Only what ends with .prom is read (node_exporter's collector/textfile.go).
NAME = "kvmlun.prom"


class MetricsFile:
    """Thread-safe: whoever writes may do so while it is removed, and does not bring it back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._removed = False

    def write(self, text: bytes) -> None:
        """Replace the file at once; raises errors.Storage and then leaves the old one.

        The folder is another user's, who reads the file and is not to say what root writes to: the
        temporary file is always a new one, and no link is followed.
        """
        path, temporary = self.folder / NAME, self.folder / f".{NAME}.new"
        try:
            temporary.unlink(missing_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)
            with open(descriptor, "wb") as file:
                # Whatever the umask is: there are no secrets in it.
                os.fchmod(file.fileno(), 0o644)
                file.write(text)
            with self._lock:
                if self._removed:
                    temporary.unlink()
                else:
                    temporary.rename(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise errors.Storage(
                f"cannot write {path} (settings.metrics_folder): {error.strerror}"
            ) from error

    def remove(self) -> None:
        """Take the file away for good: numbers that nobody brings up to date mislead."""
        with self._lock, contextlib.suppress(OSError):
            self._removed = True
            (self.folder / NAME).unlink(missing_ok=True)
