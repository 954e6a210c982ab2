"""A hook that kills libvirtd the moment libvirt calls an operation: its worst moments, exactly."""

import contextlib
from collections.abc import Iterator

from tests.lab import machine, wait

# After the peer's hook, which libvirt calls first.
PATH = "/etc/libvirt/hooks/qemu.d/90-trap"
_TRAP = """\
#!/bin/sh
test "$2" = {operation} || exit 0
rm -f {path}
kill -9 $PPID
"""


@contextlib.contextmanager
def libvirtd_dies_at(host: machine.Machine, operation: str) -> Iterator[None]:
    """Kill libvirtd at the next call of `operation`; fails if there was none by the end."""
    host.put(_TRAP.format(operation=operation, path=PATH).encode(), PATH, mode=0o755)
    try:
        yield
        sprung = host.run(["test", "-e", PATH], check=False).rc != 0
        assert sprung, f"libvirt did not call {operation} on {host.name}"
        wait.wait_for("libvirt", lambda: host.run("virsh list", check=False).rc == 0, 60)
    finally:
        host.run(["rm", "-f", PATH])
