"""The LUNs of a host as a tree: target, session, LUN, link, VM. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .. import errors, sizes
from .looks import FAINT, PLAIN, Looks, of_state
from .render import shorten

NO_TARGET = "a target that nobody knows"  # of a LUN of which only the WWID is known

Lun = dict[str, Any]
Session = dict[str, Any]


@dataclass(frozen=True)
class Branch:
    """A line, and what is below it; `state` gives its colour, "" none."""

    text: str
    state: str = ""
    below: tuple[Branch, ...] = ()


def grow(status: dict[str, Any], host: str) -> Branch:
    """Make the tree of what Client.status() returns."""
    luns, sessions = status["luns"], status["sessions"]
    names = {session["target"] for session in sessions} | {lun["target"] for lun in luns}
    return Branch(host, below=tuple(_target(name, luns, sessions) for name in sorted(names)))


def _target(name: str, luns: Iterable[Lun], sessions: Iterable[Session]) -> Branch:
    below = [_session(each, luns) for each in sessions if each["target"] == name]
    below += [_lun(lun) for lun in luns if lun["target"] == name and not lun["sessions"]]
    return Branch(name or NO_TARGET, below=tuple(below))


def _session(session: Session, luns: Iterable[Lun]) -> Branch:
    below = [lun for lun in luns if session["id"] in session_ids(lun)]
    return Branch(
        f"session {session_text(session)}", session["state"],
        tuple(_lun(lun) for lun in sorted(below, key=lambda each: each["lun"])),
    )  # fmt: skip


def session_text(session: Session, *, short: bool = False) -> str:
    where = [] if short else [session["portal"], session["iface"]]
    words = [str(session["id"]), *where, session["state"]]
    return " ".join(filter(None, [*words, "" if session["owned"] else "(borrowed)"]))


def session_ids(lun: Lun) -> set[int]:
    """Return the ids of the sessions of a LUN, which are told as object paths."""
    return {int(path.rpartition("/")[2]) for path in lun["sessions"]}


def _lun(lun: Lun) -> Branch:
    size = sizes.text(lun["size"]) if lun["size"] else ""
    words = [f"LUN {lun['lun']}", lun["volume"], lun["wwid"], size, lun["device"], lun["state"]]
    users = tuple(Branch(user) for user in lun["domains"])
    if lun["device"] and lun["link"]:
        users = (Branch(lun["link"], below=users),)
    return Branch(" ".join(filter(None, words)), lun["state"], users)


def draw(tree: Branch, looks: Looks = PLAIN) -> str:
    """Return the tree as lines, cut to the width of a terminal."""
    return "".join(f"{line}\n" for line in _lines(tree, "", "", looks))


def _lines(branch: Branch, first: str, rest: str, looks: Looks) -> Iterator[str]:
    room = None if looks.width is None else max(looks.width - len(first), 1)
    text = shorten(errors.printable(branch.text), room)
    yield looks.paint(first, FAINT) + looks.paint(text, of_state(branch.state))
    fork, end, bar = ("├─ ", "└─ ", "│  ") if looks.lines else ("|- ", "`- ", "|  ")
    for index, below in enumerate(branch.below):
        last = index == len(branch.below) - 1
        yield from _lines(
            below, rest + (end if last else fork), rest + ("   " if last else bar), looks
        )
