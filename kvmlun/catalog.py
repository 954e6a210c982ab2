"""Editing the catalog: one file a volume in /etc/kvmlun/volumes.d, each changed in one step."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

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
    """Write another WWID in place of a volume's; the rest of its file stays as it is.

    Raises errors.Unknown, errors.Refused where another volume has the WWID or more than that would
    change (an alias), errors.Config where the configuration is bad, errors.Storage; nothing has
    changed then.
    """
    current = config.load(folder)
    current.volume(name)
    other = current.by_wwid(wwid)
    if other and other.volume != name:
        raise errors.Refused(f"{wwid} is volume {other.volume} in the catalog already")
    path = current.files[name].resolve()
    text = yamlfile.read(path)
    before, place = yamlfile.parse(text, path), ("volumes", name, "wwid")
    changed = yamlfile.replaced(text, before.at(place), str(wwid))
    if not _differ_in(before, yamlfile.parse(changed, path), place):
        raise errors.Refused(f"{path}: write {wwid} yourself in place of {name}'s wwid")
    mode = path.stat().st_mode
    statefile.replace(path, changed)
    path.chmod(mode)


def _differ_in(before: yamlfile.Node, after: yamlfile.Node, place: tuple[str, ...]) -> bool:
    """Tell whether two files say the same but in one place."""
    values = []
    for node in (before, after):
        value: Any = node.plain()
        inside = value
        for key in place[:-1]:
            inside = inside[key]
        inside.pop(place[-1])
        values.append(value)
    return bool(values[0] == values[1])
