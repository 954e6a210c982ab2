"""A hook that stops libvirt, or kills it, the moment it calls an operation: exact worst moments."""

import contextlib
from collections.abc import Iterator

from tests.lab import machine, remote, wait

# After the peer's hook, which libvirt calls first.
PATH = "/etc/libvirt/hooks/qemu.d/90-trap"
HELD = "/run/lab-held"
_KILL = """\
#!/bin/sh
test "$2" = {operation} || exit 0
rm -f {path}
kill -9 $PPID
"""
_HOLD = """\
#!/bin/sh
test "$2" = {operation} || exit 0
rm -f {path}
touch {held}
while test -e {held}; do sleep 0.05; done
"""


@contextlib.contextmanager
def libvirtd_dies_at(host: machine.Machine, operation: str) -> Iterator[None]:
    """Kill libvirtd at the next call of `operation`; fails if there was none by the end."""
    with _set(host, operation, _KILL):
        yield
        sprung = host.run(["test", "-e", PATH], check=False).rc != 0
        assert sprung, f"libvirt did not call {operation} on {host.name}"
        wait.wait_for("libvirt", lambda: host.run("virsh list", check=False).rc == 0, 60)


@contextlib.contextmanager
def held_at(host: machine.Machine, operation: str, command: str) -> Iterator[remote.Spawned]:
    """Hold a command of libvirt's behind the peer's hook for `operation` while the block runs."""
    with _set(host, operation, _HOLD):
        held = host.spawn(command)
        try:
            wait.wait_for(
                f"{operation} on {host.name}",
                lambda: host.run(["test", "-e", HELD], check=False).rc == 0,
                60,
            )
            yield held
        finally:
            host.run(["rm", "-f", HELD])


@contextlib.contextmanager
def _set(host: machine.Machine, operation: str, trap: str) -> Iterator[None]:
    text = trap.format(operation=operation, path=PATH, held=HELD)
    host.put(text.encode(), PATH, mode=0o755)
    try:
        yield
    finally:
        host.run(["rm", "-f", PATH])
