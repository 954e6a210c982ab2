"""Editing the catalog: one file a volume in /etc/kvmlun/volumes.d, each changed in one step."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from . import config, errors, statefile, yamlfile
from .lun import Wwid

_NAME = re.compile(config.NAME)


def add(name: str, volume: Mapping[str, object], folder: Path = config.FOLDER) -> None:
    """Write a volume's file. `volume` has the keys of the schema (schema.json).

    Raises errors.Config where the configuration is bad already or the volume does not fit into
    it, errors.Refused where it exists, errors.Storage; nothing has changed then.
    """
    text = entry(name, volume)
    current = config.load(folder)
    if name in current.files:
        raise errors.Refused(f"volume {name} is in {current.files[name]} already")
    path = folder / "volumes.d" / f"{name}.yaml"
    if path.exists():
        raise errors.Refused(f"{path} exists already")
    config.check(current, path, text)
    statefile.replace(path, text)


def entry(name: str, volume: Mapping[str, object]) -> str:
    """Return the file of a volume; raises errors.Invalid for what none can have."""
    if not _NAME.fullmatch(name):
        raise errors.Invalid(
            f"{name[:80]!r} is no volume name: letters, digits, '_', '.' and '-', at most 63"
        )
    try:
        return yamlfile.dump({"volumes": {name: dict(volume)}})
    except errors.Invalid as problem:
        raise errors.Invalid(f"volume {name}: {problem}") from problem


def remove(name: str, holders: Collection[str], folder: Path = config.FOLDER) -> None:
    """Remove a volume's file; `holders` are the VMs that have it.

    Raises errors.Unknown, errors.Refused where a VM has it or the file has more in it,
    errors.Config where the configuration is bad, errors.Storage; nothing has changed then.
    """
    current = config.load(folder)
    current.volume(name)
    if holders:
        raise errors.Refused(f"volume {name} is in use by {', '.join(sorted(holders))}")
    path = current.files[name]
    others = [other for other, file in current.files.items() if file == path and other != name]
    if others or path.parent != folder / "volumes.d":
        raise errors.Refused(f"volume {name} is not alone in {path}; remove its lines there")
    statefile.remove(path)


def repin(name: str, wwid: Wwid, folder: Path = config.FOLDER) -> None:
    """Write another WWID into the line where a volume's stands; the rest of its file stays.

    Raises errors.Unknown, errors.Refused where the line can't be changed or another volume has
    the WWID, errors.Config where the configuration is bad, errors.Storage; nothing has changed
    then.
    """
    current = config.load(folder)
    old = str(current.volume(name).wwid)
    if other := current.by_wwid(wwid):
        raise errors.Refused(f"{wwid} is volume {other.volume} in the catalog already")
    path = current.files[name]
    number = yamlfile.load(path).at(("volumes", name, "wwid")).line
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    changed = re.sub(re.escape(old), str(wwid), lines[number - 1], flags=re.IGNORECASE)
    if changed == lines[number - 1]:
        raise errors.Refused(f"{path}:{number}: {old} does not stand there; write {wwid} yourself")
    lines[number - 1] = changed
    statefile.replace(path, "".join(lines))
