"""Marks in /run that tell udev's rule which disks are guests'.

The rule tests for a file named like the disk's ID_PATH, so a mark that exists
before the scan works in the disk's very first event, also where there is no
configuration at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import statefile
from .lun import Wwid

FOLDER = Path("/run/kvmlun/luns")
PROPERTIES = Path("/run/kvmlun/wwids")
MAPS = Path("/run/kvmlun/maps")
# multipath keeps the WWIDs that it was told over a reboot, so what is to be forgotten is kept, too.
LISTED = Path("/var/lib/kvmlun/maps")


class Markers:
    """The marks. `scanned` in one says that the disk is here because kvmlun scanned for it.

    With a mark comes, where the WWID is known, a file with the properties that
    udev's scsi_id would find for it: the rule takes them if the kernel read that
    very WWID from the disk, and asks the disk once more if not.
    """

    def __init__(
        self,
        folder: Path = FOLDER,
        properties: Path = PROPERTIES,
        maps: Path = MAPS,
        listed: Path = LISTED,
    ) -> None:
        self._folder = folder
        self._map_folder, self._listed = maps, listed
        self._maps = {path.name: made for path, made in statefile.read_all(listed, _made)}
        self._properties = properties
        self._marks = {path.name: value for path, value in statefile.read_all(folder, _mark)}
        known = {mark["wwid"] for mark in self._marks.values()}
        for path in properties.glob("*"):
            if path.name not in known:
                statefile.remove(path)

    def __contains__(self, id_path: str) -> bool:
        return id_path in self._marks

    @property
    def all(self) -> frozenset[str]:
        return frozenset(self._marks)

    @property
    def maps(self) -> frozenset[str]:
        """Device mapper's UUIDs of the multipath maps of guests' LUNs."""
        return frozenset(self._maps)

    def made(self, uuid: str) -> bool:
        """Tell whether a map is here because kvmlun asked for it."""
        return self._maps.get(uuid, False)

    def put_map(self, uuid: str, made: bool) -> None:
        """Mark a map, before its first event; raises errors.Storage."""
        statefile.write(self._listed / uuid, {"made": made})
        statefile.write(self._map_folder / uuid, {}, sync=False)
        self._maps[uuid] = made

    def drop_map(self, uuid: str) -> None:
        statefile.remove(self._map_folder / uuid)
        statefile.remove(self._listed / uuid)
        self._maps.pop(uuid, None)

    def scanned(self, id_path: str) -> bool:
        return bool(self._marks.get(id_path, {}).get("scanned"))

    def put(self, id_path: str, scanned: bool, wwid: Wwid | None = None) -> None:
        """Mark a disk; raises errors.Storage."""
        if wwid and (text := properties(wwid)):
            statefile.replace(self._properties / str(wwid), text, sync=False)
        mark = {"scanned": scanned, "wwid": str(wwid or "")}
        statefile.write(self._folder / id_path, mark, sync=False)
        self._marks[id_path] = mark

    def drop(self, id_path: str) -> None:
        statefile.remove(self._folder / id_path)
        wwid = self._marks.pop(id_path, {}).get("wwid", "")
        # A t10 name has no properties, and may have any character.
        if wwid.startswith("naa.") and all(mark["wwid"] != wwid for mark in self._marks.values()):
            statefile.remove(self._properties / wwid)


def _mark(value: dict[str, Any]) -> dict[str, Any]:
    wwid = value.get("wwid", "")
    return {"scanned": bool(value["scanned"]), "wwid": wwid and str(Wwid.parse(wwid))}


def _made(mark: dict[str, Any]) -> bool:
    return bool(mark.get("made"))


def properties(wwid: Wwid) -> str:
    """Return what ``scsi_id --export`` tells of a disk with this NAA identity, "" for others.

    systemd src/udev/scsi_id/scsi_id.c, scsi_id(): a WWN has 16 digits, NAA 6 has as many again.
    """
    kind, _, digits = str(wwid).partition(".")
    if kind != "naa":
        return ""
    values = {
        "ID_BUS": "scsi",
        "ID_TYPE": "disk",
        "ID_SERIAL": f"3{digits}",
        "ID_SERIAL_SHORT": digits,
        "ID_WWN": f"0x{digits[:16]}",
        "ID_WWN_WITH_EXTENSION": f"0x{digits}",
    }
    if digits[16:]:
        values["ID_WWN_VENDOR_EXTENSION"] = f"0x{digits[16:]}"
    return "".join(f"{name}={value}\n" for name, value in values.items())
