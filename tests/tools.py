"""Linters, and what they know, that Debian 12 has too old or not at all: from PyPI, in a venv."""

import subprocess
import sys
import uuid
from pathlib import Path

from tests.lab import paths

PINNED = (
    "ruff==0.17.6", "mypy==2.4.1", "ansible-core==2.18.7", "ansible-lint==25.6.1",
    "grafana-foundation-sdk==1769699998!10.1.0",
)  # fmt: skip
# The same pins have the same one.
FOLDER = f"tools-{uuid.uuid5(uuid.NAMESPACE_URL, ' '.join((sys.version, *PINNED)))}"


def program(name: str) -> Path:
    """Return the path of a program; installs all of it the first time."""
    folder = paths.cache() / FOLDER
    ready = folder / "ready"
    if not ready.exists():
        made = [sys.executable, "-m", "venv", "--clear", str(folder)]
        if subprocess.run(made).returncode != 0:
            raise SystemExit("no virtual environment: apt-get install python3-venv")
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", *PINNED], check=True)
        ready.touch()
    return folder / "bin" / name
