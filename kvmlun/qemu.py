"""A domain's QEMU as a process: was it started to receive a migration?"""

from __future__ import annotations

from pathlib import Path


def is_incoming(uuid: str, proc: Path = Path("/proc")) -> bool:
    """Tell whether the domain's QEMU waits, or waited, for another one's state.

    libvirt starts it with ``-incoming`` then, and with ``-uuid`` in any case (src/qemu
    qemu_command.c, qemuBuildCommandLine); restoring from a file is an ``-incoming`` as well.
    """
    commands = _commands(uuid, proc)
    return bool(commands) and all("-incoming" in argv for argv in commands)


def _commands(uuid: str, proc: Path) -> list[list[str]]:
    found = []
    for process in proc.glob("[0-9]*"):
        try:
            argv = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "-uuid" in argv and argv[argv.index("-uuid") + 1 :][:1] == [uuid]:
            found.append(argv)
    return found
