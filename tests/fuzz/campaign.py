"""A million cases for each parser, guided by coverage; the report in docs/.

A campaign that was interrupted goes on with the parsers that have no result at this commit yet.
"""

import base64
import concurrent.futures
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.fuzz import seeds
from tests.fuzz.parsers import PARSERS
from tests.lab import paths

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "docs/fuzz.md"
RUNS = 10**6
_ATHERIS = "atheris==3.0.0"
_CODE = ("kvmlun", *(f"tests/fuzz/{name}.py" for name in ("parsers", "seeds", "libfuzzer")))
_JOBS = 2
# Bytes; a case of these takes long, and more in it would find nothing else.
_LENGTH = {"yaml": 160, "dbus": 256, "metadata": 384, "socket": 384, "hook": 512, "domain": 768}
_LONGEST = 6000  # more than the digits that Python makes a number of
Result = dict[str, Any]


def main(names: Sequence[str], runs: int, since: str = "") -> int:
    """Run what is missing; return 1 where a parser failed. Work in progress gets no report.

    A result of a commit from `since` on counts as well.
    """
    commit = _git("log", "-1", "--format=%h", "--", *_CODE)
    changed = bool(_git("status", "--porcelain", "--", *_CODE))
    folder = paths.cache() / "fuzz" / ("changed" if changed else commit)
    tree = ROOT if changed else _export(folder / "tree")
    if changed:
        shutil.rmtree(folder, ignore_errors=True)
    python = _environment(paths.cache() / "fuzz/venv")
    seed = int(commit, 16) % 2**31
    folders = [folder]
    if since:
        older = _git("rev-list", "--abbrev-commit", f"{since}^..HEAD").split()
        folders += [folder.parent / other for other in older if other != commit]
    missing = [name for name in names if _result(folders, name).get("cases", 0) < runs]
    # The slowest first, so that none is left alone at the end.
    missing.sort(key=lambda name: _LENGTH.get(name, _LONGEST))
    with concurrent.futures.ThreadPoolExecutor(_JOBS) as pool:
        command = [python, "-B", tree / "tests/fuzz/libfuzzer.py"]
        for result in pool.map(lambda name: _run(command, folder, name, runs, seed), missing):
            print(_line(result), flush=True)
    results = [result for name in PARSERS if (result := _result(folders, name))]
    if not changed:
        REPORT.write_text(_report(results))
    return int(any(result["failure"] for result in results))


def _result(folders: Sequence[Path], name: str) -> Result:
    """Return what is kept of a parser in the first folder that has it, {} if none has."""
    for folder in folders:
        if (file := folder / f"{name}.json").exists():
            return dict(json.loads(file.read_text()))
    return {}


def _environment(place: Path) -> Path:
    """Return an interpreter that has atheris beside Debian's packages."""
    python = place / "bin/python"
    if not (place / _ATHERIS).exists():
        made = [sys.executable, "-m", "venv", "--clear", "--system-site-packages", str(place)]
        if subprocess.run(made).returncode != 0:
            raise SystemExit("no virtual environment: apt-get install python3-venv")
        subprocess.run([python, "-m", "pip", "install", "--quiet", _ATHERIS], check=True)
        (place / _ATHERIS).touch()
    return python


def _export(tree: Path) -> Path:
    """Copy what is committed, so that the files here may change meanwhile."""
    if not tree.exists():
        new = tree.with_name("tree.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        archive = subprocess.Popen(
            ["git", "-C", ROOT, "archive", "HEAD", "kvmlun", "tests"], stdout=subprocess.PIPE
        )
        subprocess.run(["tar", "-x", "-C", new], stdin=archive.stdout, check=True)
        new.rename(tree)
    return tree


def _run(command: Sequence[Any], folder: Path, name: str, runs: int, seed: int) -> Result:
    place = folder / name
    shutil.rmtree(place, ignore_errors=True)
    (place / "corpus").mkdir(parents=True)
    for number, data in enumerate(seeds.SEEDS[name]):
        (place / "corpus" / str(number)).write_bytes(data)
    argv = [
        "nice", "-n", "19", *command, name,
        f"-runs={runs}", f"-seed={seed}", f"-max_len={_LENGTH.get(name, _LONGEST)}",
        "-keep_seed=1", "-timeout=60", "-rss_limit_mb=1024", f"-artifact_prefix={place}/",
        place / "corpus",
    ]  # fmt: skip
    began = time.monotonic()
    with open(place / "log", "w") as log:
        code = subprocess.run(argv, stdout=log, stderr=log).returncode
    text = (place / "log").read_text(errors="replace")
    result = {
        "parser": name,
        "commit": folder.name,
        "seed": seed,
        "cases": max(map(int, re.findall(r"^#([0-9]+)\t", text, re.MULTILINE)), default=0),
        "seconds": round(time.monotonic() - began),
        "failure": _failure(place, text) if code else "",
    }
    # An interrupt is no result.
    if code >= 0:
        (folder / f"{name}.json").write_text(json.dumps(result))
    return result


def _failure(place: Path, log: str) -> str:
    """Return the error and the bytes that led to it, which are kept beside the log."""
    told = re.findall(
        r"^(?:\w+\.)*\w*(?:Error|Exception)\b.*$|^==[0-9]+== ERROR.*$", log, re.MULTILINE
    )
    found = next(place.glob("*-*"), None)
    data = base64.b64encode(found.read_bytes()[:600]).decode() if found else ""
    return f"{told[0][:200] if told else 'see the log'} (base64: {data}; {found})"


def _line(result: Result) -> str:
    name, failure = result["parser"], result["failure"]
    shown = [result[key] for key in ("commit", "cases", "seed", "seconds")]
    cells = [name, PARSERS[name].input, *shown, f"FAILS: {failure}" if failure else "holds"]
    return f"| {' | '.join(map(str, cells))} |"


def _report(results: Sequence[Result]) -> str:
    lines = [
        "# Fuzzing",
        "",
        "Made by `python3 -m tests.fuzz`; do not edit.",
        f"By {_ATHERIS}. What has to hold of each parser is in "
        "`tests/fuzz/parsers.py`. Cases grow out of good inputs and hostile texts "
        "(`tests/fuzz/seeds.py`), towards code that none has reached before (libFuzzer). Seconds "
        "are those of a busy machine.",
        "",
        "| parser | input | commit | cases | seed | seconds | result |",
        "|---|---|---|---|---|---|---|",
        *map(_line, results),
    ]
    return "\n".join(lines) + "\n"


def _git(*args: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *args], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
