"""A target that lies (hostile_target.py), running on a SAN host."""

import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.lab import hostile_target, machine, wait

PROGRAM = "/usr/local/lib/kvmlun-lab/hostile_target.py"
WWID = "naa.6001405a1b2c3d4e5f60718293a4b5c6"
NAA6 = bytes.fromhex(WWID.removeprefix("naa."))


def designator(kind: int, body: bytes, code_set: int = 1, length: int | None = None) -> bytes:
    return bytes([code_set, kind, 0, len(body) if length is None else length]) + body


def page(body: bytes, number: int = 0x83, length: int | None = None) -> str:
    size = len(body) if length is None else length
    return (bytes([0, number]) + size.to_bytes(2, "big") + body).hex()


def identity(data: str | None, **more: Any) -> dict[str, Any]:
    return {"pages": {str(0x83): data}, **more}


# A target that tells the truth.
GOOD = identity(page(designator(3, NAA6)))


@contextlib.contextmanager
def running(
    host: machine.Machine, name: str, ports: dict[str, Any], targets: dict[str, Any]
) -> Iterator[None]:
    """Have these portals on the storage network, and targets; `name` is that of its file."""
    spec = f"/tmp/hostile.{name}.json"
    given = {"address": host.address("san_a"), "ports": ports, "targets": targets}
    host.put(Path(hostile_target.__file__), PROGRAM)
    host.put(json.dumps(given), spec)
    daemon = host.spawn(f"exec python3 -I {PROGRAM} {spec}")
    try:
        wait.wait_for("the target", lambda: "ready" in daemon.out, 30)
        yield
    finally:
        daemon.signal(signal.SIGKILL)
        daemon.wait()
        host.run(["rm", spec])
