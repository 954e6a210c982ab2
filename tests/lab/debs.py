"""Files of Debian packages without installing these: no service is started for them."""

import os
import subprocess
import tempfile
from pathlib import Path


def unpacked(cache: Path, package: str) -> Path:
    """Return the files of a package (NAME or NAME=VERSION), from the cache if they are there.

    Needs an apt that can download: run apt-get update before.
    """
    final = cache / package.replace("=", "_").replace(":", "%3a")
    if not final.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as tmp:
            apt = ["apt-get", "-q", "-o", "APT::Sandbox::User=root"]
            run(*apt, "download", package, cwd=Path(tmp))
            (deb,) = Path(tmp).glob("*.deb")
            run("dpkg-deb", "-x", deb, Path(tmp, "tree"))
            publish(Path(tmp, "tree"), final)
    return final


def publish(made: Path, final: Path) -> None:
    try:
        made.rename(final)
    except OSError:
        if not final.exists():  # else another build was faster, with the same content
            raise


def run(*argv: str | Path, cwd: Path | None = None) -> str:
    env = {**os.environ, "LC_ALL": "C"}
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    done = subprocess.run(argv, cwd=cwd, env=env, check=True, text=True, stdin=null, stdout=pipe)
    return done.stdout
