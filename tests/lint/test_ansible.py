"""The Ansible role, by ansible-lint, which also has Ansible check the play's syntax."""

import re
import shutil
from pathlib import Path

import yaml

from tests import tools
from tests.lab import package
from tests.lint.conftest import Ask

ANSIBLE = package.ROOT / "contrib/ansible"


def test_role(ask: Ask, tmp_path: Path) -> None:
    copy = shutil.copytree(ANSIBLE, tmp_path / "ansible", ignore=shutil.ignore_patterns(".ansible"))
    lint = tools.program("ansible-lint")
    path = f"{lint.parent}:/usr/bin:/bin"
    told = ask("env", "-C", copy, lint, "--offline", "--strict", "--nocolor", PATH=path)
    assert "Passed" in told


def test_the_readme_has_each_variable() -> None:
    rows = re.findall(r"^\| `(kvmlun_\w+)` \|", (ANSIBLE / "README.md").read_text(), flags=re.M)
    defaults = yaml.safe_load((ANSIBLE / "roles/kvmlun/defaults/main.yml").read_text())
    assert rows == list(defaults)
