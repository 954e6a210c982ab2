"""The built package, by Debian's, systemd's and mandoc's own measure."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lab import package
from tests.lint.conftest import Ask

# Said of each package with a unit; Debian 13's lintian knows no such tag, nor an override for it.
NO_INIT_SCRIPT = "package-supports-alternative-init-but-no-init.d-script"
PAGES = ("man1/kvmlun.1", "man5/kvmlun.yaml.5", "man8/kvmlund.8")


def test_lintian(ask: Ask, built: Path) -> None:
    options = "--display-info", "--pedantic", "--allow-root", "--suppress-tags", NO_INIT_SCRIPT
    told = ask("lintian", *options, built)
    assert told == ""


@pytest.mark.parametrize("page", PAGES)
def test_man_page(ask: Ask, root: Path, page: str) -> None:
    file = root / f"usr/share/man/{page}.gz"
    assert ask("mandoc", "-T", "lint", "-W", "warning", file) == ""
    shown = ask("man", "--warnings", "--encoding=UTF-8", "--local-file", file, MANWIDTH="80")
    assert "SEE ALSO" in shown and "troff" not in shown


def test_units(ask: Ask, root: Path) -> None:
    """They lean on units and programs that the package does not bring."""
    units = root / "usr/lib/systemd/system"
    shutil.copytree("/lib/systemd/system", units, symlinks=True, dirs_exist_ok=True)
    shutil.copy("/usr/bin/busctl", root / "usr/bin")
    names = [path.name for path in (package.ROOT / "systemd").glob("kvmlund.*")]
    assert len(names) == 2
    assert ask("systemd-analyze", "verify", "--man=no", f"--root={root}", *names) == ""


def test_reproducible(built: Path, tmp_path: Path) -> None:
    """Another folder, umask, time zone, language and moment give the same bytes."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    again = package.build_in(
        place,
        ["faketime", "2031-02-03 04:05:06"],
        {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "LANG": "C", "HOME": str(tmp_path)},
        umask=0o027,
    )
    assert again.read_bytes() == built.read_bytes(), compared(built, again)


def compared(*packages: Path) -> str:
    """Return which files differ, for the reader of a failure."""
    lists = []
    for number, each in enumerate(packages):
        folder = each.parent / f"unpacked-{os.getpid()}-{number}"
        subprocess.run(["dpkg-deb", "-R", each, folder], check=True)
        lists.append(folder)
    told = subprocess.run(["diff", "-rq", *lists], capture_output=True, text=True).stdout
    for folder in lists:
        shutil.rmtree(folder)
    return told or "the same files, packed in another way"
