"""Linters of source text; what they look for stands in pyproject.toml."""

import subprocess

from tests import tools
from tests.lab import package, paths
from tests.lint.conftest import Ask


def test_ruff(ask: Ask) -> None:
    ask(tools.program("ruff"), "check")


def test_format(ask: Ask) -> None:
    ask(tools.program("ruff"), "format", "--check")


def test_mypy(ask: Ask) -> None:
    ask(tools.program("mypy"), "--cache-dir", paths.cache() / "mypy")


def test_shellcheck(ask: Ask) -> None:
    """Each committed file that a shell runs says so itself."""
    pattern = r"^#!/bin/(ba|da)?sh$|^# shellcheck shell="
    listed = ["git", "grep", "--files-with-matches", "--perl-regexp", pattern, "--", ":!*.py"]
    scripts = subprocess.run(listed, cwd=package.ROOT, check=True, capture_output=True, text=True)
    assert "tests/all" in scripts.stdout
    ask("shellcheck", "--external-sources", *scripts.stdout.split())
