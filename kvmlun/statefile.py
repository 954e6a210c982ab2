"""Small files that survive a crash at any moment: atomic, synced JSON."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from . import errors

log = logging.getLogger("kvmlun.statefile")
T = TypeVar("T")
_NOT_OURS = (
    OSError, AttributeError, KeyError, TypeError, ValueError, RecursionError, errors.Invalid
)  # fmt: skip


def write(path: Path, value: object, sync: bool = True) -> None:
    """Replace `path` by `value` as JSON; the rest is as in replace()."""
    replace(path, json.dumps(value), sync)


def replace(path: Path, text: str, sync: bool = True) -> None:
    """Replace the content of `path`; raises errors.Storage and then leaves the old file.

    Without `sync` a power cut may bring the old file back, never a torn one.
    """
    # Not with the file's own name before it, which may be as long as a name can be.
    temporary = path.with_name(".new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(temporary, "w", opener=_private) as file:
            file.write(text)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        temporary.rename(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise errors.Storage(f"cannot write {path}: {error.strerror}; nothing was done") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def remove(path: Path) -> None:
    """Remove a state file, if it is there; raises errors.Storage."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise errors.Storage(f"cannot remove {path}: {error.strerror}") from error


def read_all(folder: Path, make: Callable[[dict[str, Any]], T]) -> Iterator[tuple[Path, T]]:
    """Yield every state file in `folder` with what `make` makes of its content.

    One that can't be read, or that lacks something, is logged and left: another version of kvmlun
    may have written it, and the daemon is to start all the same.
    """
    for path in sorted(folder.glob("[!.]*")) if folder.is_dir() else ():
        try:
            value = json.loads(path.read_text())
            if not isinstance(value, dict):
                raise ValueError("no JSON object")
            made = make(value)
        except _NOT_OURS as error:
            log.error("state file %s is ignored: %s", path, errors.one_line(repr(error)))
            continue
        yield path, made


def fields(kind: type, value: dict[str, Any]) -> dict[str, Any]:
    """Return the members of `value` that the dataclass `kind` has a field for.

    Raises TypeError for one of another type; those of a tuple are for the caller to check.
    """
    found = {name: hint for name, hint in typing.get_type_hints(kind).items() if name in value}
    for name, hint in found.items():
        kinds = int | hint if float in (hint, *typing.get_args(hint)) else hint
        if typing.get_origin(hint) is not tuple and not isinstance(value[name], kinds):
            raise TypeError(f"{name} is of type {type(value[name]).__name__}")
    return {name: value[name] for name in found}
