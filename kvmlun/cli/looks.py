"""How text may look where it is printed: colours, a width, a cursor that can be moved."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

RED, GREEN, YELLOW, FAINT = "31", "32", "33", "2"

# Of a LUN, a session, and what is explained; the rest has none.
_OF_STATES = {
    "in-use": GREEN, "LOGGED_IN": GREEN, "ok": GREEN,
    "degraded": YELLOW, "idle": YELLOW, "do": YELLOW,
    "absent": FAINT, "note": FAINT,
    "down": RED, "exchanged": RED, "missing": RED, "refused": RED,
}  # fmt: skip


@dataclass(frozen=True)
class Looks:
    """What may be done with a text. The default is for a pipe: nothing is coloured or cut."""

    colours: bool = False
    width: int | None = None
    height: int | None = None
    moves: bool = False  # the cursor can be moved
    lines: bool = True  # there are characters for lines

    def paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colours and colour and text else text


PLAIN = Looks()


def of(stream: TextIO | None, environ: Mapping[str, str] = os.environ) -> Looks:
    """Find out what `stream` is, None where it is closed.

    NO_COLOR is that of no-color.org, COLUMNS POSIX's.
    """
    if stream is None:
        return PLAIN
    lines = (stream.encoding or "").lower().startswith("utf")
    told = environ.get("COLUMNS", "")
    columns = int(told) if told.isdecimal() else 0
    if not stream.isatty():
        return Looks(width=columns or None, lines=lines)
    moves = environ.get("TERM", "dumb") != "dumb"
    size = os.get_terminal_size(stream.fileno())
    # A serial console has no size. COLUMNS may be of before a terminal's was changed.
    return Looks(
        colours=moves and not environ.get("NO_COLOR"),
        width=size.columns or columns or None,
        height=size.lines or None,
        moves=moves,
        lines=lines,
    )


def of_state(state: str) -> str:
    """Return the colour of a state, "" for none."""
    return _OF_STATES.get(state, RED if state.isupper() else "")
