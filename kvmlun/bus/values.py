"""kvmlun's values as D-Bus has them, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dbus_next import Variant

from .. import reservation

if TYPE_CHECKING:
    from ..actions import Left
    from ..explainer import Explanation
    from ..repin import Comparison
    from ..reservation import Reservation
    from ..status import ReservationStatus
    from ..steps import Operation
    from ..takeover import Holding
    from ..traces import Waiting

_SIGNATURES = {str: "s", bool: "b", int: "u", list: "as"}


def variants(value: Mapping[str, object]) -> dict[str, Variant]:
    """Return a volume, as YAML has it, as ``a{sv}``."""
    return {key: Variant(_SIGNATURES[type(member)], member) for key, member in value.items()}


def plain(value: Any) -> Any:
    """Return `value` without variants, at any depth."""
    if isinstance(value, Variant):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(member) for key, member in value.items()}
    if isinstance(value, list):
        return [plain(member) for member in value]
    return value


def of_reservation(made: ReservationStatus) -> dict[str, Variant]:
    return {
        "wwid": Variant("s", made.wwid),
        "volume": Variant("s", made.volume),
        "fencing": Variant("b", made.fencing),
        "phase": Variant("s", made.phase),
        "here": Variant("b", made.here),
        "can": Variant("s", made.can),
        **_holders(made.reservation),
    }


def of_holding(made: Holding) -> dict[str, Variant]:
    name, wwid = Variant("s", made.name), Variant("s", str(made.wwid))
    return {"name": name, "wwid": wwid, **_holders(made.reservation)}


def of_left(made: Left) -> dict[str, Variant]:
    return {
        "action": Variant("s", made.action),
        "target": Variant("s", made.target),
        "device": Variant("s", made.device),
        "due": Variant("u", math.ceil(made.seconds)),
        "problem": Variant("s", made.problem),
    }


def of_waiting(made: Waiting) -> list[object]:
    return [made.operation, made.subject, made.step, made.since]


def of_explanation(made: Explanation) -> dict[str, Variant]:
    return {
        "name": Variant("s", made.name),
        "uuid": Variant("s", made.uuid),
        "running": Variant("b", made.running),
        "lines": Variant("a(sss)", [[each.disk, each.verdict, each.text] for each in made.lines]),
        "operations": Variant("aa{sv}", [_of_operation(each) for each in made.operations]),
    }


def _of_operation(made: Operation) -> dict[str, Variant]:
    """Times in seconds: `at` is Unix time; a step has how long after that it began, and -1 for how
    long it took while it goes on."""
    steps = [[s.text, s.after, -1.0 if s.seconds is None else s.seconds] for s in made.steps]
    return {
        "operation": Variant("s", made.name),
        "at": Variant("d", made.at),
        "seconds": Variant("d", made.seconds or 0.0),
        "result": Variant("s", made.result),
        "steps": Variant("a(sdd)", steps),
    }


def of_comparison(made: Comparison) -> dict[str, Variant]:
    return {
        "volume": Variant("s", made.lun.volume or ""),
        "address": Variant("s", str(made.lun.address)),
        "pinned": Variant("as", [str(wwid) for wwid in made.pinned]),
        "found": Variant("s", str(made.found)),
        "size": Variant("t", made.size),
        "domains": Variant("as", list(made.domains)),
        "links": Variant("a(ss)", [list(link) for link in made.links]),
    }


def _holders(found: Reservation) -> dict[str, Variant]:
    """Who holds a LUN, "" and 0 for nobody, since when (Unix time) and who else is registered."""
    holder = found.holder
    return {
        "holder": Variant("s", holder.initiator if holder else ""),
        "holder_key": Variant("t", holder.key if holder else 0),
        "since": Variant("t", reservation.since(holder.key) if holder else 0),
        "type": Variant("u", holder.type if holder else 0),
        "registrants": Variant("a(st)", [[r.initiator, r.key] for r in found.registrations]),
    }
