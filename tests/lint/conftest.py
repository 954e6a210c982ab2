"""The package that is looked at, and how a program is asked."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import package

Ask = Callable[..., str]


@pytest.fixture
def ask() -> Ask:
    """Run a program in the checkout; return all it said, or fail with that."""

    def asked(*argv: str | Path, code: int = 0, **variables: str) -> str:
        done = subprocess.run(
            argv,
            cwd=package.ROOT,
            env={**os.environ, "LC_ALL": "C.UTF-8", **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != code:
            pytest.fail(f"{argv[0]} ended with {done.returncode}:\n{done.stdout}", pytrace=False)
        return done.stdout

    return asked


@pytest.fixture(scope="session")
def built() -> Path:
    return package.build()


@pytest.fixture(scope="session")
def root(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the package installs."""
    folder = tmp_path_factory.mktemp("root")
    subprocess.run(["dpkg-deb", "-x", built, folder], check=True)
    return folder
