"""Runs the rows on one lab: those that need one host on all hosts at the same time."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab import lab

ROOT = Path(__file__).resolve().parents[2]


def main(name: str) -> int:
    """Run all rows for kvmlun; return pytest's exit code, that of the first part that failed."""
    with lab.Lab(name):
        return run(name)


def run(name: str, options: Sequence[str] = (), environment: Mapping[str, str] = {}) -> int:
    """Run the rows that need more hosts, then the others in as many parts as there are hosts.

    Each part prints what it does when it is over, so that their lines do not mix.
    """
    hosts = [host.name for host in lab.Lab.attach(name).machines if host.spec.role == "kvm"][:2]
    argv = [sys.executable, "-m", "pytest", "-v", "tests/lab", "--lab", name, *options]
    env = {**os.environ, **environment}
    codes = [subprocess.run([*argv, "--more-hosts"], cwd=ROOT, env=env).returncode]
    with tempfile.TemporaryDirectory() as folder:
        parts = []
        for index, host in enumerate(hosts, 1):
            output = Path(folder, host)
            part = [*argv, "--one-host", f"{host}:{index}/{len(hosts)}"]
            with output.open("wb") as file:
                process = subprocess.Popen(part, cwd=ROOT, env=env, stdout=file, stderr=file)
            parts.append((process, output))
        for process, output in parts:
            codes.append(process.wait())
            print(output.read_text(errors="replace"), flush=True)
    return next((code for code in codes if code), 0)
