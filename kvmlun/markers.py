"""Marks in /run that tell udev's rule which disks are guests'.

The rule tests for a file named like the disk's ID_PATH, so a mark that exists
before the scan works in the disk's very first event, also where there is no
configuration at all.
"""

from __future__ import annotations

from pathlib import Path

from . import statefile

FOLDER = Path("/run/kvmlun/luns")


class Markers:
    """The marks. `scanned` in one says that the disk is here because kvmlun scanned for it."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._scanned = {
            path.name: bool(value.get("scanned")) for path, value in statefile.read_all(folder)
        }

    def __contains__(self, id_path: str) -> bool:
        return id_path in self._scanned

    @property
    def all(self) -> frozenset[str]:
        return frozenset(self._scanned)

    def scanned(self, id_path: str) -> bool:
        return self._scanned.get(id_path, False)

    def put(self, id_path: str, scanned: bool) -> None:
        """Mark a disk; raises errors.Storage."""
        statefile.write(self._folder / id_path, {"scanned": scanned})
        self._scanned[id_path] = scanned

    def drop(self, id_path: str) -> None:
        statefile.remove(self._folder / id_path)
        self._scanned.pop(id_path, None)
