"""How values are printed: JSON, tables and sentences. Pure."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence

from .. import errors
from .looks import PLAIN, Looks, of_state

_GAP = "  "


def as_json(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def lines(texts: Iterable[str]) -> str:
    """Return each text on a line of its own."""
    return "".join(f"{errors.printable(text)}\n" for text in texts)


def table(rows: list[dict[str, str]], looks: Looks = PLAIN) -> str:
    """Return rows with their keys as heads, cut to the width of a terminal.

    The column STATE is coloured by what it says.
    """
    lines = [{key: key for key in rows[0]}]
    lines += [{key: errors.printable(text) for key, text in row.items()} for row in rows]
    heads = list(rows[0])
    widths = fit([max(len(line[key]) for line in lines) for key in heads], looks.width)
    return "".join(_line(line, dict(zip(heads, widths, strict=True)), looks) for line in lines)


def width(rows: list[dict[str, str]]) -> int:
    """Return how wide their table is where nothing is cut."""
    return max(map(len, table(rows).splitlines()))


def _line(line: dict[str, str], widths: dict[str, int], looks: Looks) -> str:
    cells = {key: _cell(line[key], width).ljust(width) for key, width in widths.items()}
    last = list(cells)[-1]
    cells[last] = cells[last].rstrip()
    if "STATE" in cells:
        cells["STATE"] = looks.paint(
            cells["STATE"], of_state(line["STATE"]) * (line["STATE"] != "STATE")
        )
    return _GAP.join(cells.values()).rstrip() + "\n"


def _cell(text: str, width: int) -> str:
    """Cut a name in its middle, and what has words or several names at its end."""
    if " " not in text or len(text) <= width:
        return shorten(text, width)
    return f"{text[: width - 1]}…"


def fit(widths: Sequence[int], room: int | None) -> list[int]:
    """Return widths of columns that fit into `room` with gaps, taken from the widest ones."""
    made = list(widths)
    if room is None:
        return made
    while sum(made) + len(_GAP) * (len(made) - 1) > room and max(made) > 1:
        made[made.index(max(made))] -= 1
    return made


def wrap(text: str, width: int | None, indent: str = "", hanging: str = "") -> str:
    """Return lines that begin with `indent`, broken between words and never within a name.

    All but the first have `hanging` behind it.
    """
    text = errors.printable(text)
    if width is None:
        return f"{indent}{text}\n"
    lines = textwrap.wrap(
        text, max(width, 2 * len(indent), 1), initial_indent=indent,
        subsequent_indent=indent + hanging, break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return "".join(f"{line}\n" for line in lines)


def shorten(text: str, width: int | None) -> str:
    """Cut `text` in its middle: the ends of IQNs, WWIDs and links tell them apart."""
    if width is None or len(text) <= width:
        return text
    head = (width - 1) // 2
    tail = max(width - 1 - head, 0)
    return f"{text[:head]}…{text[len(text) - tail :]}"[: max(width, 0)]
