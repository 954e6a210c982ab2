"""A hook that stops libvirt, or kills a daemon, when libvirt calls it: exact worst moments."""

import contextlib
from collections.abc import Iterator

from tests.lab import guest, machine, remote, vm, wait

# libvirt calls them in the order of their names: before the peer's hook, and after it.
BEFORE = "/etc/libvirt/hooks/qemu.d/10-trap"
PATH = "/etc/libvirt/hooks/qemu.d/90-trap"
HELD = "/run/lab-held"
_KILL = """\
#!/bin/sh
test "$2" = {operation} || exit 0
rm -f {path}
kill -9 $PPID
"""
_FAIL = """\
#!/bin/sh
test "$2" != {operation}
"""
_HOLD_AND_FAIL = """\
#!/bin/sh
test "$2" = {operation} || exit 0
touch {held}
while test -e {held}; do sleep 0.05; done
exit 1
"""
# Some moment of what the peer's hook does, which nothing else tells.
_KILL_SOON = """\
#!/bin/sh
test "$2" = {operation} || exit 0
rm -f {path}
(sleep {seconds}; kill -9 {pid}) </dev/null >/dev/null 2>&1 &
"""
# The guest's first output there follows the moment at which libvirt lets it go on, in Finish.
_KILL_IN_FINISH = """
import os, signal, sys
path, pid = sys.argv[1], int(sys.argv[2])
size = lambda: os.path.getsize(path) if os.path.exists(path) else 0
before = size()
while size() == before:
    pass
os.kill(pid, signal.SIGKILL)
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
    with _set(host, PATH, _KILL, operation=operation):
        yield
        _assert_sprung(host, PATH, operation)
        wait.wait_for("libvirt", lambda: host.run("virsh list", check=False).rc == 0, 60)


def fails_at(host: machine.Machine, operation: str) -> contextlib.AbstractContextManager[None]:
    """Have `operation` fail behind the peer's hook, which has let it pass."""
    return _set(host, PATH, _FAIL, operation=operation)


@contextlib.contextmanager
def held_in_vain_at(host: machine.Machine, operation: str) -> Iterator[None]:
    """Hold each call of `operation` behind the peer's hook until let_go(); then it fails."""
    with _set(host, PATH, _HOLD_AND_FAIL, operation=operation, held=HELD):
        try:
            yield
        finally:
            let_go(host)


def is_held(host: machine.Machine) -> bool:
    return host.run(["test", "-e", HELD], check=False).rc == 0


def let_go(host: machine.Machine) -> None:
    host.run(["rm", "-f", HELD])


@contextlib.contextmanager
def peer_dies_in(
    host: machine.Machine, unit: str, operation: str, seconds: float
) -> Iterator[None]:
    """Kill the peer's daemon so long after the next call of `operation`, before it does that."""
    pid = host.main_pid(unit)
    with _set(host, BEFORE, _KILL_SOON, operation=operation, seconds=seconds, pid=pid):
        yield
        _assert_sprung(host, BEFORE, operation)
        wait.wait_for(f"another {unit}", lambda: host.main_pid(unit) not in ("0", pid), 60)


def killer(host: machine.Machine, arriving: vm.Vm, unit: str) -> remote.Spawned:
    """Begin to kill a daemon the moment a guest goes on here; it ends once that is done."""
    console, pid = guest.CONSOLE.format(name=arriving.name), host.main_pid(unit)
    return host.spawn(["python3", "-I", "-S", "-c", _KILL_IN_FINISH, console, pid])


@contextlib.contextmanager
def held_at(host: machine.Machine, operation: str, command: str) -> Iterator[remote.Spawned]:
    """Hold a command of libvirt's behind the peer's hook for `operation` while the block runs."""
    with _set(host, PATH, _HOLD, operation=operation, held=HELD):
        held = host.spawn(command)
        try:
            wait.wait_for(f"{operation} on {host.name}", lambda: is_held(host), 60)
            yield held
        finally:
            let_go(host)


@contextlib.contextmanager
def _set(host: machine.Machine, path: str, trap: str, **words: object) -> Iterator[None]:
    host.put(trap.format(path=path, **words).encode(), path, mode=0o755)
    try:
        yield
    finally:
        host.run(["rm", "-f", path])


def _assert_sprung(host: machine.Machine, path: str, operation: str) -> None:
    sprung = host.run(["test", "-e", path], check=False).rc != 0
    assert sprung, f"libvirt did not call {operation} on {host.name}"
