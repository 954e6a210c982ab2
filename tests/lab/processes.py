"""Processes of this machine, found by what is certain and ended by their exact pid."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.lab import wait

PROC = Path("/proc")


def pids() -> Iterator[int]:
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            yield int(entry.name)


def argv(pid: int) -> list[str]:
    """Empty for a process that is gone, and for a zombie."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def stat(pid: int) -> list[str]:
    """The fields after the command name: state is 0, session is 3, start time is 19."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def start_time(pid: int) -> str:
    """With the pid, the identity of a process; empty when it is gone or a zombie."""
    fields = stat(pid)
    return fields[19] if fields and fields[0] not in "ZX" else ""


def is_traced(pid: int) -> bool:
    try:
        status = (PROC / str(pid) / "status").read_text()
    except OSError:
        return False
    return "\nTracerPid:\t0\n" not in status


def of_session(session: int) -> list[int]:
    found = []
    for pid in pids():
        fields = stat(pid)
        if fields and fields[0] not in "ZX" and fields[3] == str(session):
            found.append(pid)
    return found


def send(targets: Iterable[int], number: signal.Signals) -> None:
    for pid in targets:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def kill_all(what: str, find: Callable[[], list[int]], timeout: float = 30) -> None:
    """SIGKILL what find() returns, until it returns nothing: killed ones may have had children."""

    def gone() -> bool:
        found = find()
        send(found, signal.SIGKILL)
        return not found

    wait.wait_for(f"the end of {what}", gone, timeout)
