"""What bash, zsh and fish offer behind ``kvmlun``, asked of these shells themselves."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab import package

FILES = package.ROOT / "completions"
PROGRAM = """#!{python}
import functools, pathlib, sys
sys.argv[0] = "kvmlun"
sys.path.insert(0, "{root}")
from kvmlun import cli, config
config.read = functools.partial(config.read, pathlib.Path("{catalog}"))
sys.exit(cli.main())
"""
CATALOG = """volumes:
  vm1-root: {wwid: naa.5001405123456789, portals: [10.0.0.1], target: iqn.2026-11.x}
"""
SECONDS = 20


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """One in which ``kvmlun`` is this checkout's, with a catalog of its own."""
    (tmp_path / "kvmlun.yaml").write_text(CATALOG)
    program = tmp_path / "kvmlun"
    text = PROGRAM.format(python=sys.executable, root=package.ROOT, catalog=tmp_path)
    program.write_text(text)
    program.chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), "TERM": "dumb"}


def bash(line: str, environment: dict[str, str]) -> str:
    script = f""". {FILES}/kvmlun; COMP_LINE="$1" COMP_POINT=${{#1}}; _kvmlun
        printf '%s\\n' "${{COMPREPLY[@]}}" """
    argv = ["bash", "--norc", "-c", script, "bash", line]
    return subprocess.run(argv, env=environment, capture_output=True, text=True).stdout


def fish(line: str, environment: dict[str, str]) -> str:
    script = f"source {FILES}/kvmlun.fish; complete -C '{line}'"
    argv = ["fish", "--no-config", "-c", script]
    return subprocess.run(argv, env=environment, capture_output=True, text=True).stdout


def zsh(line: str, environment: dict[str, str]) -> str:
    """It completes on a terminal only: show what Tab puts there."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe("zsh", ["zsh", "-f", "-i"], environment)
    try:
        setup = f"fpath=({FILES} $fpath); autoload -Uz compinit; compinit -u -D; PS1=rea''dy:\n"
        os.write(terminal, setup.encode())
        # Its own prompt: only then Tab is a key.
        read(terminal, "ready:")
        # The second line is told by a zsh that is done with the first.
        os.write(terminal, f"{line}\t\x15echo do''ne\n".encode())
        return read(terminal, "done\r\n")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)


def read(terminal: int, end: str) -> str:
    """Return what comes until `end` has, without what moves the cursor."""
    found, until = "", time.monotonic() + SECONDS
    while end not in found:
        assert select.select([terminal], [], [], max(0, until - time.monotonic()))[0], found
        found += os.read(terminal, 65536).decode(errors="replace")
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", found)


@pytest.mark.parametrize("shell", [bash, zsh, fish])
@pytest.mark.parametrize(
    ("line", "offered", "others"),
    [
        ("kvmlun vol", "volume", "takeover"),
        ("kvmlun volume ", "import-pools", "takeover"),
        ("kvmlun volume add --por", "--portal", "--wwid"),
        ("kvmlun disk-xml --target sda v", "vm1-root", "vda"),
    ],
)
def test_offers(shell, line: str, offered: str, others: str, environment: dict[str, str]) -> None:
    told = shell(line, environment)
    assert offered in told and others not in told


@pytest.mark.parametrize("shell", [zsh, fish])
def test_says_what_each_is(shell, environment: dict[str, str]) -> None:
    assert "list all volumes" in shell("kvmlun volume ", environment)
