"""``kvmlun graph``: what hangs on what, as DOT, which graphviz and others draw."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .. import errors
from . import arguments
from .tree import NO_TARGET, session_ids

if TYPE_CHECKING:
    from ..client import Client

_COLOURS = {"degraded": "orange", "down": "red", "exchanged": "red", "missing": "red"}


def add(verbs: arguments.Verbs) -> None:
    parser = verbs.add_parser("graph", help="print the LUNs, and what hangs on them, as DOT")
    parser.set_defaults(run=_graph)


async def _graph(client: Client, given: argparse.Namespace) -> str:
    return dot(await client.status(reservations=False), socket.gethostname())


def dot(status: dict[str, Any], host: str) -> str:
    """Return a graph from the host to the VMs. Pure; the language is graphviz.org/doc/info/lang."""
    lines = ["digraph kvmlun {", "  rankdir=LR;", "  node [shape=box];"]
    lines += [f"  {line};" for line in dict.fromkeys(_lines(status, host))]
    return "\n".join([*lines, "}"]) + "\n"


def _lines(status: dict[str, Any], host: str) -> Iterator[str]:
    top = _quoted("host", host)
    yield f"{top} [label={_quoted(host)} shape=house]"
    for session in status["sessions"]:
        target, one = _quoted("target", session["target"]), _quoted("session", session["id"])
        words = [session["portal"], session["iface"], session["state"]]
        borrowed = "" if session["owned"] else " style=dashed"
        colour = "" if session["state"] == "LOGGED_IN" else " color=red"
        label = _quoted(f"session {session['id']}", *filter(None, words), by=_BREAK)
        yield from _edge(top, target, session["target"])
        yield f"{one} [label={label}{borrowed}{colour}]"
        yield f"{target} -> {one}"
    for lun in status["luns"]:
        yield from _of_lun(lun, top)


def _of_lun(lun: dict[str, Any], top: str) -> Iterator[str]:
    one, target = _quoted("lun", lun["wwid"]), _quoted("target", lun["target"])
    words = [lun["volume"], f"LUN {lun['lun']}", lun["wwid"], lun["device"], lun["state"]]
    colour = f" color={_COLOURS[lun['state']]}" if lun["state"] in _COLOURS else ""
    yield f"{one} [label={_quoted(*filter(None, words), by=_BREAK)} shape=cylinder{colour}]"
    ids = session_ids(lun)
    yield from (f"{_quoted('session', sid)} -> {one}" for sid in sorted(ids))
    if not ids:
        yield from _edge(top, target, lun["target"] or NO_TARGET)
        yield f"{target} -> {one} [style=dotted]"
    users = one
    if lun["device"] and lun["link"]:
        users = _quoted("link", lun["link"])
        yield f"{users} [label={_quoted(lun['link'])} shape=plain]"
        yield f"{one} -> {users}"
    for name in lun["domains"]:
        yield f"{_quoted('vm', name)} [label={_quoted(name)} shape=component]"
        yield f"{users} -> {_quoted('vm', name)}"


def _edge(top: str, target: str, name: str) -> Iterator[str]:
    yield f"{target} [label={_quoted(name)}]"
    yield f"{top} -> {target}"


_BREAK = "\\n"


def _quoted(*words: object, by: str = " ") -> str:
    """Return an ID of DOT: only a quote has to be escaped in it, and a backslash is a command."""
    texts = (
        errors.printable(str(word)).replace("\\", "\\\\").replace('"', '\\"') for word in words
    )
    return f'"{by.join(texts)}"'
