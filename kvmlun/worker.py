"""Processes that do SCSI work for the daemon and may get stuck without harm.

A thread that sleeps in the kernel on a dead session can't be taken back; a
process can be given up. Run as a program this is the worker: one JSON request
a line in, one answer a line out, until its input ends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from typing import Any

from . import errors, reservations, scsi
from .steps import step
from .wait import Deadline, turn, within

log = logging.getLogger("kvmlun.worker")

_CALLS = (
    scsi.scan, scsi.rescan, scsi.delete, scsi.change, scsi.probe, scsi.claimed,
    scsi.flush, scsi.drop_partitions, scsi.openers,
    reservations.pr_capabilities, reservations.pr_status, reservations.pr_register,
    reservations.pr_reserve, reservations.pr_preempt,
)  # fmt: skip
_KINDS = {
    kind.__name__: kind for kind in (errors.Stale, errors.Refused, errors.Invalid, errors.Storage)
}


class Workers:
    """A pool of worker processes, at most `limit` busy at once.

    Every call is bounded by its timeout, the wait for its turn too. A worker that does not
    answer in time is killed and forgotten: if it sleeps in the kernel it dies when that ends.
    """

    def __init__(self, limit: int = 32) -> None:
        self._idle: list[asyncio.subprocess.Process] = []
        self._slots = asyncio.Semaphore(limit)
        self._probing: dict[str, asyncio.Lock] = {}

    async def start(self) -> None:
        """Have one worker ready, so that the first VM does not wait for it."""
        self._idle.append(await self._spawn())

    async def stop(self) -> None:
        """Let idle workers end; a busy one ends by itself when its input is gone."""
        for worker in self._idle:
            assert worker.stdin
            worker.stdin.close()
            await worker.wait()

    async def call(self, name: str, *args: object, timeout: float) -> Any:
        """Run scsi.`name`; raises errors.Timeout, errors.Storage or errors.Refused."""
        deadline = Deadline(timeout)
        async with turn(self._slots, f"SCSI {name} had to wait for others, which", deadline):
            worker = await self._take()
            try:
                with step(" ".join(("SCSI", name, *map(str, args[:1])))):
                    answer = await within(_ask(worker, name, args), deadline.left)
            except TimeoutError:
                _give_up(worker)
                raise errors.Timeout(f"SCSI {name} did not finish within {timeout:.0f} s") from None
            except BaseException:
                _give_up(worker)
                raise
            self._idle.append(worker)
        log.debug("SCSI %s %s: %s", name, args, answer)
        if "error" in answer:
            raise _KINDS[answer["kind"]](answer["error"])
        return answer["result"]

    async def probe(self, name: str, number: str, timeout: float) -> dict[str, Any]:
        """Call scsi.probe, one at a time for each disk: its exclusive open would see another's."""
        return dict(await self._alone("probe", name, number, timeout))

    async def claimed(self, name: str, number: str, timeout: float) -> bool:
        """Call scsi.claimed in the same way."""
        return bool(await self._alone("claimed", name, number, timeout))

    async def _alone(self, call: str, name: str, number: str, timeout: float) -> Any:
        deadline = Deadline(timeout)
        lock = self._probing.setdefault(name, asyncio.Lock())
        async with turn(lock, "SCSI probe had to wait for another, which", deadline):
            return await self.call(call, name, number, timeout=deadline.left)

    async def _take(self) -> asyncio.subprocess.Process:
        while self._idle:
            worker = self._idle.pop()
            if worker.returncode is None:
                return worker
        return await self._spawn()

    @staticmethod
    async def _spawn() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-m",
            "kvmlun.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )


async def _ask(worker: asyncio.subprocess.Process, name: str, args: tuple[object, ...]) -> Any:
    assert worker.stdin and worker.stdout
    line = b""
    try:
        worker.stdin.write(json.dumps([name, *args]).encode() + b"\n")
        await worker.stdin.drain()
        line = await worker.stdout.readline()
    except ConnectionError:
        log.debug("worker process %d closed its input", worker.pid)
    if not line:
        raise errors.Storage(f"the worker process {worker.pid} died during SCSI {name}")
    return json.loads(line)


def _give_up(worker: asyncio.subprocess.Process) -> None:
    log.warning("worker process %d given up", worker.pid)
    try:
        worker.kill()
    except ProcessLookupError:
        pass


def answer(line: str) -> dict[str, object]:
    """Do what one request asks for, and return what goes back."""
    calls = {call.__name__: call for call in _CALLS}
    name, *args = json.loads(line)
    try:
        return {"result": calls[name](*args)}
    except errors.Error as error:
        kinds = (kind for kind in _KINDS.values() if isinstance(error, kind))
        kind = next(kinds, errors.Storage)
        return {"kind": kind.__name__, "error": str(error)}
    except OSError as error:
        what = f"{error.strerror or os.strerror(error.errno or 0)}"
        return {"kind": "Storage", "error": f"SCSI {name} {args[0]}: {what}"}


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(answer(line)), flush=True)


if __name__ == "__main__":
    main()
