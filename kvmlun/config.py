"""The configuration in /etc/kvmlun: settings and the catalog of volumes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from . import errors, schema, yamlfile
from .lun import Lun, LunAddress, Network, Portal, Wwid, parse_lun, parse_network, parse_target
from .yamlfile import Node

FOLDER = Path("/etc/kvmlun")
# The hook cannot read YAML and must not wait for a daemon that may never have run.
WWIDS = Path("/var/lib/kvmlun/wwids")

NAME = str(schema.document()["properties"]["volumes"]["propertyNames"]["pattern"])
T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """Times in seconds, each with its reason.

    grace: how long an unused LUN stays, so that a restart of a VM finds it.
    prepare: all of a VM's LUNs; libvirt itself never gives up on a hook and
        locks the VM meanwhile, so this is the only limit there is.
    check: the hooks that only check (migrate, restore, start).
    login: one attempt to log in; login_attempts of them must fit into prepare.
    replacement: how long the kernel queues I/O of a lost session before the
        guest's requests fail (and a VM with error_policy=stop pauses).
    noop: interval and answer time of the ping that finds a dead portal.
    silence: how long a portal that did not answer is asked with a short probe first,
        so that many VMs that start one after the other do not wait for it each.
    audit: how often everything is looked at without any event.

    portals (no time): the networks in which a LUN that is not in the catalog may be logged in
        to, None for any; who writes a VM's metadata chooses its portals.
    fencing (no time): whether every LUN is fenced whose volume does not say; None leaves that
        to the VM's metadata, so to the host that it comes from.
    metrics_folder, metrics_listen (no times): where metrics are written to and where they are
        asked for by HTTP, each None for nowhere; who monitors this host says where.
    retry_autostart (no time): start a domain with autostart whose storage did not
        answer, once it does; off, since it may run on another host by then.
    """

    grace: float = 10
    prepare: float = 45
    check: float = 10
    login: float = 8
    login_attempts: float = 2
    replacement: float = 120
    noop: float = 5
    silence: float = 60
    audit: float = 30
    portals: tuple[Network, ...] | None = None
    fencing: bool | None = None
    metrics_folder: str | None = None
    metrics_listen: str | None = None
    retry_autostart: bool = False

    def node_record(self) -> dict[str, str]:
        """The open-iscsi settings that kvmlun relies on, for a node record of its own.

        startup=manual, since a login at boot could bring a LUN whose VM runs
        elsewhere now; scan=manual, since only our LUN is to appear here.
        """
        return {
            "node.startup": "manual",
            "node.session.scan": "manual",
            "node.session.nr_sessions": "1",
            "node.session.initial_login_retry_max": f"{self.login_attempts:.0f}",
            "node.session.timeo.replacement_timeout": f"{self.replacement:.0f}",
            "node.conn[0].timeo.login_timeout": f"{self.login:.0f}",
            "node.conn[0].timeo.noop_out_interval": f"{self.noop:.0f}",
            "node.conn[0].timeo.noop_out_timeout": f"{self.noop:.0f}",
        }


@dataclass(frozen=True)
class Config:
    settings: Settings
    volumes: dict[str, Lun]  # by name
    files: dict[str, Path] = dataclasses.field(default_factory=dict)  # where each volume is defined

    def volume(self, name: str) -> Lun:
        """Raises errors.Unknown."""
        try:
            return self.volumes[name]
        except KeyError:
            raise errors.Unknown(f"there is no volume {name[:80]!r} in /etc/kvmlun") from None

    def fences(self, wwid: Wwid | None, told: bool | None) -> bool:
        """Tell whether a LUN is fenced here: by its volume, the settings, or what `told` was."""
        volume = self.by_wwid(wwid) if wwid else None
        said = (volume.fencing if volume else None, self.settings.fencing, told)
        return next((each for each in said if each is not None), False)

    def by_wwid(self, wwid: Wwid) -> Lun | None:
        return next((lun for lun in self.volumes.values() if lun.wwid == wwid), None)

    def by_address(self, address: LunAddress) -> Lun | None:
        return next((lun for lun in self.volumes.values() if lun.address == address), None)

    def names(self, portal: Portal) -> bool:
        """Tell whether the operator named a portal, in a volume or in the settings."""
        return portal.address in self._addresses or any(
            portal.is_in(network) for network in self.settings.portals or ()
        )

    @functools.cached_property
    def _addresses(self) -> frozenset[str]:
        return frozenset(address for lun in self.volumes.values() for address in lun.addresses)

    def allows(self, portal: Portal) -> bool:
        """Tell whether a portal that a VM's metadata or link names may be logged in to."""
        return self.settings.portals is None or self.names(portal)


def load(folder: Path = FOLDER) -> Config:
    """Read kvmlun.yaml and volumes.d/*.yaml; a file that is missing counts as empty.

    Raises errors.Config, whose text names file, line and key, for the first problem.
    """
    config, problems = read(folder)
    if problems:
        raise problems[0]
    return config


def read(folder: Path = FOLDER) -> tuple[Config, list[errors.Config]]:
    """Return what is good of the configuration, and every problem with the rest."""
    main = folder / "kvmlun.yaml"
    files = [main] if main.exists() else []
    files += sorted((folder / "volumes.d").glob("*.yaml"))
    settings = Settings()
    volumes: dict[str, Lun] = {}
    places: dict[str, Path] = {}
    problems: list[errors.Config] = []
    for file in files:
        try:
            root = yamlfile.load(file)
            if wrong := schema.problems(root):
                problems += wrong
                continue
            if given := root.members().get("settings"):
                settings = _settings(given, file == main)
        except errors.Config as problem:
            problems.append(problem)
            continue
        for name, node in root.members("volumes").items():
            try:
                volumes[name] = _volume(name, node, volumes)
                places[name] = file
            except errors.Config as problem:
                problems.append(problem)
    return Config(settings, volumes, places), problems


def check(config: Config, file: Path, text: str) -> None:
    """Raise errors.Config unless a file with this text could be added to what `config` is of."""
    root = yamlfile.parse(text, file)
    if wrong := schema.problems(root):
        raise wrong[0]
    for name, node in root.members("volumes").items():
        _volume(name, node, config.volumes)


def _settings(node: Node, in_main: bool) -> Settings:
    if not in_main:
        raise node.error("belong into kvmlun.yaml; a file in volumes.d may have volumes only")
    given = {key: member.value for key, member in node.members().items()}
    if portals := node.members().get("portals"):
        given["portals"] = _networks(portals)
    settings = Settings(**given)  # type: ignore[arg-type]
    if settings.login * settings.login_attempts >= settings.prepare:
        raise node.error("login times login_attempts must stay below prepare")
    return settings


def _networks(node: Node) -> tuple[Network, ...] | None:
    """Return None for a key without a value, which is not an empty list."""
    if node.value is None:
        return None
    return tuple(_parsed(each, parse_network) for each in node.items())


def _volume(name: str, node: Node, others: dict[str, Lun]) -> Lun:
    if name in others:
        raise node.error("is defined twice")
    members = node.members()
    number = members.get("lun")
    lun = Lun(
        wwid=_parsed(members["wwid"], Wwid.parse),
        address=LunAddress(
            _parsed(members["target"], parse_target), _parsed(number, parse_lun) if number else 0
        ),
        portals=_portals(members),
        volume=name,
        secret=_plain(members, "secret", None),
        min_paths=_plain(members, "min_paths", 1),
        fencing=_plain(members, "fencing", None),
    )
    if lun.min_paths > len(lun.portals):
        raise members["min_paths"].error(
            f"is more than the portals times the ifaces ({len(lun.portals)})"
        )
    for other in others.values():
        shared = set(other.addresses) & set(lun.addresses)
        same_target = other.address.target == lun.address.target
        if shared and same_target and other.secret != lun.secret:
            raise node.error(
                f"has target and portal of volume {other.volume}: both need the same secret"
            )
        if other.wwid == lun.wwid:
            raise members["wwid"].error(f"is that of volume {other.volume} already")
        if shared and other.address == lun.address:
            raise members["target"].error(
                f"target and LUN are those of volume {other.volume} already"
            )
    return lun


def _portals(members: Mapping[str, Node]) -> tuple[Portal, ...]:
    """Return every portal by every iface."""
    portals = [_parsed(each, Portal.parse) for each in members["portals"].items()]
    ifaces = [str(each.value) for each in members["ifaces"].items()] if "ifaces" in members else []
    return tuple(
        dataclasses.replace(portal, iface=iface) for portal in portals for iface in ifaces or [""]
    )


def _plain(members: Mapping[str, Node], key: str, default: T) -> T:
    return members[key].value if key in members else default  # type: ignore[return-value]


def _parsed(node: Node, parse: Callable[[Any], T]) -> T:
    try:
        return parse(node.value)
    except errors.Invalid as error:
        raise node.error(str(error)) from error


def write_wwids(config: Config, path: Path = WWIDS) -> None:
    """Write the catalog's WWIDs, one a line, for the hook; raises errors.Storage."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text("".join(f"{lun.wwid}\n" for lun in config.volumes.values()))
        temporary.rename(path)
    except OSError as error:
        raise errors.Storage(f"cannot write {path}: {error.strerror}") from error
