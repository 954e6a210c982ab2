"""What of a host matters to the hosts that VMs migrate to and from, and its form as JSON. Pure.

Secrets are told by their names, never by anything in them.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from .. import errors
from ..statefile import fields

FORMAT = 1


@dataclass(frozen=True)
class Volume:
    """An entry of the catalog; `fencing` is what counts, whoever says it."""

    name: str
    wwid: str
    target: str
    lun: int
    portals: tuple[str, ...]
    secret: str
    fencing: bool


@dataclass(frozen=True)
class Used:
    """A LUN that VMs have on the host."""

    wwid: str
    target: str
    lun: int
    portals: tuple[str, ...]
    domains: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """`portals` are the networks of settings.portals, None for any; `time` is Unix time."""

    name: str
    version: str
    metadata: int
    initiator: str
    host_id: str
    problems: tuple[str, ...]
    portals: tuple[str, ...] | None
    volumes: tuple[Volume, ...]
    used: tuple[Used, ...]
    secrets: tuple[str, ...]
    time: float
    format: int = FORMAT


def as_json(facts: Facts) -> str:
    return json.dumps(dataclasses.asdict(facts), indent=2, sort_keys=True) + "\n"


def parse(text: str) -> Facts:
    """Raises errors.Invalid for what is none, or not in the form that this kvmlun knows."""
    try:
        value = json.loads(text)
        if value["format"] != FORMAT:
            raise errors.Invalid("kvmlun there is too new, or too old, to be compared with")
        portals = value.pop("portals")
        return Facts(
            **{
                **fields(Facts, value),
                "problems": _texts(value["problems"]),
                "portals": None if portals is None else _texts(portals),
                "volumes": tuple(Volume(**_lun(Volume, each)) for each in value["volumes"]),
                "used": tuple(Used(**_lun(Used, each)) for each in value["used"]),
                "secrets": _texts(value["secrets"]),
            }
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise errors.Invalid("kvmlun doctor --facts gave no facts there") from error


def _lun(kind: type, value: dict[str, Any]) -> dict[str, Any]:
    found = fields(kind, value)
    return {k: _texts(v) if k in ("portals", "domains") else v for k, v in found.items()}


def _texts(value: list[str]) -> tuple[str, ...]:
    if not all(isinstance(each, str) for each in value):
        raise TypeError("a list of texts expected")
    return tuple(value)
