"""How values are printed: JSON, and tables of text. Pure."""

from __future__ import annotations

import json

from .. import errors


def as_json(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def table(rows: list[dict[str, str]]) -> str:
    lines = [{key: key for key in rows[0]}]
    lines += [{key: errors.printable(text) for key, text in row.items()} for row in rows]
    widths = {key: max(len(line[key]) for line in lines) for key in rows[0]}
    return "".join(
        "  ".join(line[key].ljust(width) for key, width in widths.items()).rstrip() + "\n"
        for line in lines
    )
