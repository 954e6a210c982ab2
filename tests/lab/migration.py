"""A migration that is held where a test needs it."""

import contextlib
import signal
from collections.abc import Iterator

from tests.lab import machine, remote, vm, wait

COPY_SECONDS = 120


def begin(
    moved: vm.Vm,
    source: machine.Machine,
    destination: machine.Machine,
    options: str = "",
    client_options: str = "",
) -> remote.Spawned:
    """Start a migration that takes long, and return it when memory is being copied."""
    slowly = f"{vm.LIVE} --bandwidth 1 {options}"
    running = source.spawn(moved.migration(destination, slowly, client_options))
    wait.wait_for("memory to be copied", lambda: _copying(moved, source), 60)
    return running


def hurry(moved: vm.Vm, source: machine.Machine) -> None:
    """Let a migration that begin() began go on as fast as it can."""
    source.run(["virsh", "migrate-setspeed", moved.uuid, "1000"])


def copied(moved: vm.Vm, source: machine.Machine) -> None:
    """Let a migration that begin() began copy what is left, and the source be paused for it."""
    hurry(moved, source)
    wait.wait_for("the source to pause", lambda: moved.state(source) == "paused", COPY_SECONDS)
    completed = f"""virsh qemu-monitor-command {moved.uuid} '{{"execute":"query-migrate"}}'"""
    wait.wait_for(
        "the end of copying",
        lambda: '"status":"completed"' in source.run(completed, check=False).out,
        60,
    )


@contextlib.contextmanager
def before_finish(
    moved: vm.Vm,
    source: machine.Machine,
    destination: machine.Machine,
    client_options: str = "",
) -> Iterator[remote.Spawned]:
    """Give the client of a native migration, which is stopped: only its call of Finish is missing.

    SIGCONT lets it go on. libvirt gives up a client that has been stopped for 30 s.
    """
    client = begin(moved, source, destination, client_options=client_options)
    try:
        client.signal(signal.SIGSTOP)
        copied(moved, source)
        yield client
    finally:
        if client.poll() is None:
            client.signal(signal.SIGKILL)


def _copying(moved: vm.Vm, host: machine.Machine) -> bool:
    job = host.run(["virsh", "domjobinfo", moved.uuid], check=False).out
    return "Memory processed" in job and "Memory processed: 0" not in job
