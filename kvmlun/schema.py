"""The form of the files in /etc/kvmlun, as JSON Schema. The only importer of jsonschema.

``schema.json`` is what editors complete from and what is checked here, so they can't differ.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

from . import errors
from .yamlfile import Node


@functools.cache
def document() -> dict[str, Any]:
    """Return the schema (JSON Schema 2020-12)."""
    text = resources.files(__package__).joinpath("schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


@functools.cache
def _validator() -> Any:
    # Half a second on a slow host, and kvmlund alone needs it.
    import jsonschema

    return jsonschema.Draft202012Validator(document())


def problems(root: Node) -> list[errors.Config]:
    """Return what is wrong with a file, each with its line and key, in the order of lines."""
    told = [each for error in _validator().iter_errors(root.plain()) for each in _told(root, error)]
    # A key that is missing is told once for each one that is. What is inside comes first: a
    # misspelt key is why another one is missing.
    found = {(n.line, -n.key.count("."), n.key, text): n.error(text) for n, text in told}
    return [error for _, error in sorted(found.items())]


def _told(root: Node, error: Any) -> Iterator[tuple[Node, str]]:
    """Say a validator's error in the schema's own words (ajv-errors' keyword errorMessage)."""
    node, schema = root.at(error.absolute_path), error.schema
    if error.validator == "additionalProperties":
        known = schema["properties"]
        for key in error.instance.keys() - known.keys():
            yield node.at([key]), f"unknown key; known are {', '.join(sorted(known))}"
    elif error.validator == "required":
        for key in schema["required"]:
            if key not in error.instance:
                yield node, f"{key} is missing"
    elif "propertyNames" in error.schema_path:
        yield node.at([error.instance]), schema["errorMessage"]
    else:
        yield node, schema["errorMessage"]
