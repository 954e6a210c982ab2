"""The same rows as CI, more of them, for kvmlun and for the naive hook; its report in docs/.

A campaign that was interrupted goes on where it was: each finished row is kept
by commit, and a row that has a result is not run again. Results are in the cache of a
machine; on another one the committed report tells them.
"""

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.lab import lab, paths, peers, rows

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "docs/campaign.md"
Result = dict[str, Any]
ROUND_TRIPS = {"kvmlun": 20, "naive": 5}


def main(name: str, since: str = "", only: str = "") -> int:
    """Run what is missing, print and write the report; return 1 where kvmlun failed a row.

    An interrupted campaign reports as far as it came.
    What passed at a commit from `since` on counts as well, and is shown with that commit.
    `only` is pytest's expression (-k) for the rows to run now.
    """
    commit = _git("describe", "--always", "--dirty")
    folder = paths.cache() / "campaign" / commit
    folder.mkdir(parents=True, exist_ok=True)
    if since:
        commits = _git("rev-list", "--abbrev-commit", f"{since}^..HEAD").split()
        others = [other for other in commits if other != commit]
        names = rows.names()
        told = reported(REPORT.read_text())
        for peer in peers.PEERS:
            _take_over(peer, others, folder, names, told[peer])
    try:
        with lab.Lab(name):
            for peer in peers.PEERS:
                options = ["--long", "--peer", peer, "--results", str(folder / f"{peer}.jsonl")]
                options += ["-k", only] if only else []
                rows.run(name, options, {"KVMLUN_ROUND_TRIPS": str(ROUND_TRIPS[peer])})
    finally:
        found = {peer: _results(folder / f"{peer}.jsonl") for peer in peers.PEERS}
        text = report(found, commit)
        print(text)
        REPORT.write_text(text)
    return int(any(result["outcome"] == "failed" for result in found["kvmlun"]))


def _take_over(
    peer: str,
    commits: Sequence[str],
    folder: Path,
    names: frozenset[str],
    told: Sequence[Result] = (),
) -> None:
    """Copy the newest result of each row that has none here; what kvmlun failed is run again.

    `told` is what an earlier report says.
    """
    results = [r for r in _results(folder / f"{peer}.jsonl") if r["row"] in names]
    known = {result["row"] for result in results}
    for commit in commits:
        older = _results(folder.parent / commit / f"{peer}.jsonl")
        here = {result["row"] for result in older}
        older += [r for r in told if r["commit"] == commit and r["row"] not in here]
        failed = {r["row"] for r in older if r["outcome"] == "failed" and peer == "kvmlun"}
        good = [r for r in older if r["row"] not in failed]
        results += [{"commit": commit, **r} for r in good if r["row"] in names - known]
        known |= {result["row"] for result in older}
    lines = "".join(json.dumps(result) + "\n" for result in results)
    (folder / f"{peer}.jsonl").write_text(lines)


def _results(file: Path) -> list[Result]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def report(results: dict[str, list[Result]], commit: str) -> str:
    """Return the report; a row that only kvmlun passes shows what it adds."""
    lines = [
        "# Campaign",
        "",
        "Made by `python3 -m tests.lab campaign`; do not edit.",
        f"Commit {commit}, except where a row names another. "
        f"Rows that go round go {ROUND_TRIPS['kvmlun']} times, with the naive hook "
        f"{ROUND_TRIPS['naive']} times: `migrate: there_and_back`, `fencing_migrate: "
        "there_and_back`, `fencing_start: prepared_at_the_same_moment` (five starts each time) and "
        "`started_at_the_same_moment` (one start in four times). No row draws random numbers.",
        "The naive hook logs in at prepare and logs out at release (`tests/lab/naive-hook`). Where "
        "it passes too, the row shows nothing that kvmlun adds; `-` means that the row needs "
        "something that only kvmlun has, `?` that it has not run yet.",
        "",
        "| row | kvmlun | naive hook |",
        "|---|---|---|",
    ]
    for row in sorted({result["row"] for found in results.values() for result in found}):
        cells = [_cell([r for r in results[peer] if r["row"] == row]) for peer in peers.PEERS]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def reported(text: str) -> dict[str, list[Result]]:
    """Return the results that a report tells."""
    found: dict[str, list[Result]] = {peer: [] for peer in peers.PEERS}
    (own,) = re.findall(r"^Commit (\S+), ", text, re.MULTILINE)
    for row, *cells in re.findall(r"^\| (.+: .+) \| (.+) \| (.+) \|$", text, re.MULTILINE):
        for results, cell in zip(found.values(), cells, strict=True):
            ran = re.fullmatch(r"(passes|FAILS) \((\d+)(?:, (.+))?\)", cell)
            if cell == "-":
                results.append({"row": row, "outcome": "skipped", "commit": own})
            if ran:
                outcome = {"passes": "passed", "FAILS": "failed"}[ran[1]]
                commit = (ran[3] or own).split(", ")[0]
                results += int(ran[2]) * [{"row": row, "outcome": outcome, "commit": commit}]
    return found


def _cell(results: Sequence[Result]) -> str:
    ran = [result for result in results if result["outcome"] in ("passed", "failed")]
    if not ran:
        return "-" if results else "?"
    word = "FAILS" if any(result["outcome"] == "failed" for result in ran) else "passes"
    commits = sorted({result["commit"] for result in ran if "commit" in result})
    return f"{word} ({', '.join([str(len(ran)), *commits])})"


def _git(*args: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *args], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
