"""``kvmlun check``: mistakes in the files in /etc/kvmlun."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from .. import config, errors, yamlfile
from ..lun import Lun
from ..yamlfile import Node
from . import arguments


def add(verbs: arguments.Verbs) -> None:
    parser = verbs.add_parser("check", help="look for mistakes in the files in /etc/kvmlun")
    parser.add_argument("folder", nargs="?", type=Path, default=config.FOLDER, metavar="FOLDER")
    parser.set_defaults(here=_check)


def _check(given: argparse.Namespace) -> str:
    """Say every mistake on a line of its own; the last one as the error that ends the command."""
    if not given.folder.is_dir():
        raise errors.Config(f"{given.folder}: is no folder")
    found, problems = config.read(given.folder)
    for file in sorted((given.folder / "volumes.d").glob("*.yml")):
        problems.append(errors.Config(f"{file}: is not read; name it {file.stem}.yaml"))
    if given.folder == config.FOLDER:
        for name, volume in found.volumes.items():
            problems += _missing(volume, found.files[name])
        problems += _no_folder(found.settings.metrics_folder)
    for problem in problems[:-1]:
        print(f"kvmlun: {problem}", file=sys.stderr)
    if problems:
        raise problems[-1]
    count = len(found.volumes)
    return f"{count} {'volume' if count == 1 else 'volumes'}, no mistake\n"


def _missing(volume: Lun, file: Path) -> Iterator[errors.Config]:
    """Yield what a volume names that this host has not, or not as it has to be."""
    from .. import nodedb, secrets

    try:
        # One that has no file may be a systemd credential, which only kvmlund can see.
        if volume.secret and os.path.lexists(secrets.FOLDER / volume.secret):
            secrets.load(volume.secret)
    except errors.Config as problem:
        yield problem
    for number, iface in enumerate(volume.ifaces):
        try:
            nodedb.binding(iface)
        except errors.Storage as problem:
            yield _node(file, "volumes", str(volume.volume), "ifaces", number).error(str(problem))


def _no_folder(path: str | None) -> Iterator[errors.Config]:
    """Yield that the folder for metrics is not there; it is not for kvmlun to make."""
    if path and not os.path.isdir(path):
        where = _node(config.FOLDER / "kvmlun.yaml", "settings", "metrics_folder")
        yield where.error(
            f"{path} is no folder of this host; name the one that node_exporter reads"
        )


def _node(file: Path, *path: str | int) -> Node:
    return yamlfile.load(file).at(path)
