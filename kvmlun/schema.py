"""The form of the files in /etc/kvmlun, as JSON Schema. The only importer of jsonschema.

``schema.json`` is what editors complete from and what is checked here, so they can't differ.
"""

from __future__ import annotations

import functools
import json
import math
import re
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

    base = jsonschema.Draft202012Validator
    types = base.TYPE_CHECKER.redefine_many({"integer": _whole, "number": _finite})
    checks = {"pattern": _pattern}
    return jsonschema.validators.extend(base, checks, type_checker=types)(document())


def _whole(_checker: Any, value: object) -> bool:
    """JSON has one kind of number, so that 1.0 is an integer there; YAML and Python have two."""
    return isinstance(value, int) and not isinstance(value, bool)


def _finite(checker: Any, value: object) -> bool:
    return _whole(checker, value) or (isinstance(value, float) and math.isfinite(value))


def _pattern(_validator: Any, pattern: str, value: object, _schema: Any) -> Iterator[Exception]:
    """The schema's patterns are ECMAScript's, where $ is not also before a last line feed."""
    import jsonschema

    if isinstance(value, str) and not re.fullmatch(pattern, value):
        yield jsonschema.ValidationError("")


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
