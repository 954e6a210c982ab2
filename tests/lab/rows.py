"""Runs the rows on one lab: those that need one host on two hosts at the same time."""

import itertools
import os
import queue
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent import futures
from pathlib import Path

from tests.lab import lab

ROOT = Path(__file__).resolve().parents[2]
ONE_HOST = "\npytestmark = pytest.mark.one_host\n"
NO_TESTS = 5  # pytest's exit code where every row of a module is for the campaign


def main(name: str) -> int:
    """Run all rows for kvmlun; return pytest's exit code, that of the first part that failed."""
    with lab.Lab(name):
        return run(name)


def run(name: str, options: Sequence[str] = (), environment: Mapping[str, str] = {}) -> int:
    """Run the rows that need more hosts, then the modules of the others on two hosts.

    Each host takes the next module when it is done with one; a module's lines come when it is over.
    """
    # What to run comes first: only then are the options known that it brings.
    pytest, common = [sys.executable, "-m", "pytest"], ["-v", "--lab", name, *options]
    env = {**os.environ, **environment}
    whole = subprocess.run([*pytest, "tests/lab", *common, "--more-hosts"], cwd=ROOT, env=env)
    modules: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for module in sorted(one_host_modules(), key=lambda path: -path.stat().st_size):
        modules.put(module)

    def play(host: str) -> list[int]:
        codes: list[int] = []
        while True:
            try:
                module = modules.get_nowait()
            except queue.Empty:
                return codes
            command = [*pytest, str(module), *common, "--one-host", host]
            done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
            print(f"{done.stdout}{done.stderr}", flush=True)
            codes.append(done.returncode)

    hosts = [host.name for host in lab.Lab.attach(name).machines if host.spec.role == "kvm"][:2]
    with futures.ThreadPoolExecutor() as side_by_side:
        found = [whole.returncode, *itertools.chain(*side_by_side.map(play, hosts))]
    return next((code for code in found if code not in (0, NO_TESTS)), 0)


def one_host_modules() -> list[Path]:
    modules = Path(__file__).parent.glob("test_*.py")
    return [module for module in modules if ONE_HOST in module.read_text()]


def names() -> frozenset[str]:
    """Return the names of all rows, as results have them."""
    command = [sys.executable, "-m", "pytest", "tests/lab", "--long", "--collect-only", "-q"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = (line.split("/test_", 1)[1] for line in listed.splitlines() if "::test_" in line)
    return frozenset(row_name(*line.split(".py::test_", 1)) for line in found)


def row_name(module: str, test: str) -> str:
    """Return a row's name in results, by its module and test without their ``test_``.

    What runs fenced as well is called as it was before there was fencing.
    """
    return f"{module}: {test}".replace("[plain]", "").replace("[plain-", "[")
