"""Operations with their steps: those under way, and for each domain the last one of each kind.

Kept in /run, so that what a VM waited for is known also to the next kvmlund.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import errors, statefile
from .steps import Operation, Step

log = logging.getLogger("kvmlun.traces")

FOLDER = Path("/run/kvmlun/steps")
RELEASE = "release"
_DOMAINS = 200  # those that were quiet for longest are forgotten


@dataclass(frozen=True)
class Waiting:
    """What an operation has been waiting for `since` (Unix time)."""

    operation: str
    subject: str
    step: str
    since: float


class Traces:
    """`changed` is called when somebody has begun to wait for long, or no longer does."""

    def __init__(self, changed: Callable[[], None], folder: Path = FOLDER) -> None:
        self._changed = changed
        self._folder = folder
        self._going: list[Operation] = []
        self._kept: dict[str, dict[str, Operation]] = {}
        found = statefile.read_all(folder, self._read)
        for path, operations in sorted(found, key=lambda each: _last(each[1])):
            self._kept[path.stem] = operations

    @property
    def waiting(self) -> tuple[Waiting, ...]:
        return tuple(
            Waiting(each.name, each.subject, step.text, each.at + step.after)
            for each in self._going
            if (step := each.waits_for)
        )

    def of(self, uuid: str) -> list[Operation]:
        """Return what was done last for a domain, in the order in which it began."""
        return sorted(self._kept.get(uuid, {}).values(), key=lambda each: each.began)

    @contextlib.contextmanager
    def operation(
        self,
        name: str,
        subject: str,
        uuid: str = "",
        waited: float = 0.0,
        targets: Iterable[str] = (),
    ) -> Iterator[None]:
        """Record what is done meanwhile, and for a domain (`uuid`) keep it if it has steps.

        It was asked for `waited` seconds ago. The end of a session to one of its `targets` is a
        part of the last RELEASE that has it, unless somebody has let_go() of that since.
        """
        began, at = time.monotonic() - waited, time.time() - waited
        made = Operation(name, subject, began, at, functools.partial(self._note, uuid, name))
        made.targets = frozenset(targets)
        try:
            with self._under_way(made):
                yield
        except BaseException as failure:
            made.result = _why(failure)
            raise
        finally:
            made.seconds = made.passed
            if uuid and (made.steps or made.result or made.targets):
                # As the newest one.
                self._kept[uuid] = {**self._kept.pop(uuid, {}), name: made}
                self._write(uuid)

    @contextlib.contextmanager
    def ending(self, target: str) -> Iterator[None]:
        """Surrounds the end of a session, or of a disk of it: the rest of a domain's release."""
        uuid, last = self._released(target)
        if last is None:
            yield
            return
        with self._under_way(last):
            yield
        last.seconds = last.passed
        self._write(uuid)

    def last_user(self, target: str) -> str:
        """Return the name of the domain that has let go of a target last, "" if it was none."""
        _, last = self._released(target)
        return last.subject if last else ""

    def let_go(self, targets: Iterable[str]) -> None:
        """Somebody needs these targets no longer: their ends are no part of earlier releases."""
        gone = frozenset(targets)
        for uuid, operations in list(self._kept.items()):
            release = operations.get(RELEASE)
            if release and release.targets & gone:
                release.targets -= gone
                self._write(uuid)

    def _released(self, target: str) -> tuple[str, Operation | None]:
        releases = [
            (uuid, operations[RELEASE])
            for uuid, operations in self._kept.items()
            if RELEASE in operations and target in operations[RELEASE].targets
        ]
        return max(releases, key=lambda each: each[1].began, default=("", None))

    @contextlib.contextmanager
    def _under_way(self, operation: Operation) -> Iterator[None]:
        self._going.append(operation)
        try:
            with operation.current():
                yield
        finally:
            self._going.remove(operation)

    def _note(self, uuid: str, name: str) -> None:
        operation = self._kept.get(uuid, {}).get(name)
        if operation and operation not in self._going:
            self._write(uuid)
        self._changed()

    def _write(self, uuid: str) -> None:
        while len(self._kept) > _DOMAINS:
            self._forget(next(iter(self._kept)))
        value = {name: _plain(each) for name, each in self._kept[uuid].items()}
        try:
            statefile.write(self._path(uuid), value, sync=False)
        except errors.Storage as problem:
            # It explains; nothing depends on it.
            log.warning("steps are not kept: %s", problem)

    def _forget(self, uuid: str) -> None:
        del self._kept[uuid]
        with contextlib.suppress(errors.Storage):
            statefile.remove(self._path(uuid))

    def _path(self, uuid: str) -> Path:
        return self._folder / f"{uuid}.json"

    def _read(self, value: dict[str, Any]) -> dict[str, Operation]:
        return {name: _operation(name, each) for name, each in value.items()}


def _why(failure: BaseException) -> str:
    if isinstance(failure, errors.Error):
        return str(failure)
    # Whoever asked waits for the next kvmlund then.
    ended = isinstance(failure, asyncio.CancelledError)
    return "kvmlund ended meanwhile" if ended else errors.INTERNAL


def _last(operations: dict[str, Operation]) -> float:
    return max((each.began for each in operations.values()), default=0.0)


def _plain(operation: Operation) -> dict[str, Any]:
    return {
        "subject": operation.subject,
        "began": operation.began,
        "at": operation.at,
        "seconds": operation.seconds,
        "result": operation.result,
        "targets": sorted(operation.targets),
        "steps": [asdict(step) for step in operation.steps],
    }


def _operation(name: str, value: dict[str, Any]) -> Operation:
    """Make an operation of a file's; whoever went on with it then is gone."""
    made = Operation(
        name, str(value["subject"]), float(value["began"]), float(value["at"]), lambda: None
    )
    made.seconds = float(value["seconds"])
    made.result = str(value["result"])
    made.targets = frozenset(map(str, value["targets"]))
    for each in value["steps"]:
        seconds = each["seconds"]
        ended = made.seconds if seconds is None else float(seconds)
        made.steps.append(Step(str(each["text"]), float(each["after"]), ended))
    return made
