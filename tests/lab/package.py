"""The Debian package under test, built from this checkout as a user would build it."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab import errors, paths

ROOT = Path(__file__).resolve().parents[2]
# What the package is not made of.
APART = ("tests", "bench", "build", "__pycache__")
# pyenv and the like must not become the package's interpreter.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def build(version: str = "") -> Path:
    """Return kvmlun's .deb, from the cache if no file that goes into it has changed.

    A `version` other than the changelog's makes an upgrade. Unit tests run elsewhere.
    """
    made = paths.cache() / f"kvmlun-{_digest(version)}.deb"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=made.parent) as folder:
            build_in(Path(folder), version=version).rename(made)
    return made


def _files() -> list[Path]:
    parts = [p for p in ROOT.iterdir() if not p.name.startswith(".") and p.name not in APART]
    found = [path for part in parts for path in (part, *part.rglob("*"))]
    tree = [path for path in found if path.is_file() and "__pycache__" not in path.parts]
    built = ROOT / "debian/kvmlun"
    return sorted(path for path in tree if built not in path.parents)


def _digest(version: str) -> str:
    hashed = hashlib.sha256(version.encode())
    for path in _files():
        hashed.update(str(path.relative_to(ROOT)).encode())
        hashed.update(hashlib.sha256(path.read_bytes()).digest())
    return hashed.hexdigest()[:16]


def build_in(
    folder: Path,
    below: Sequence[str] = (),
    environment: Mapping[str, str] = {},
    umask: int = -1,
    version: str = "",
) -> Path:
    """Build in a copy of the checkout in `folder`, by a command that runs `below` another one."""
    source = folder / "kvmlun"
    for path in _files():
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    if version:
        changelog = source / "debian/changelog"
        changelog.write_text(changelog.read_text().replace("0.1.0", version, 1))
    done = subprocess.run(
        [*below, "dpkg-buildpackage", "-us", "-uc", "-b"],
        cwd=source,
        env={**os.environ, **environment, "PATH": PATH, "DEB_BUILD_OPTIONS": "nocheck"},
        umask=umask,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise errors.LabError(f"the package does not build:\n{done.stdout}{done.stderr}")
    (package,) = folder.glob("*.deb")
    return package
