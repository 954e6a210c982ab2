"""The same rows as CI, more of them, for kvmlun and for the naive hook; its report in docs/.

A campaign that was interrupted goes on where it was: each finished row is kept
by commit, and a row that has a result is not run again.
"""

import collections
import json
import subprocess
from pathlib import Path

from tests.lab import lab, paths, peers, rows

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "docs/campaign.md"
ROUND_TRIPS = {"kvmlun": 20, "naive": 5}


def main(name: str) -> int:
    """Run what is missing, print and write the report; return 1 where kvmlun failed a row."""
    commit = _git("describe", "--always", "--dirty")
    folder = paths.cache() / "campaign" / commit
    folder.mkdir(parents=True, exist_ok=True)
    with lab.Lab(name):
        for peer in peers.PEERS:
            options = ["--long", "--peer", peer, "--results", str(folder / f"{peer}.jsonl")]
            rows.run(name, options, {"KVMLUN_ROUND_TRIPS": str(ROUND_TRIPS[peer])})
    found = {peer: _rows(folder / f"{peer}.jsonl") for peer in peers.PEERS}
    text = report(found, commit)
    print(text)
    REPORT.write_text(text)
    return int(any("failed" in outcomes for outcomes in found["kvmlun"].values()))


def _rows(results: Path) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = collections.defaultdict(list)
    for line in results.read_text().splitlines() if results.exists() else ():
        result = json.loads(line)
        rows[result["row"]].append(result["outcome"])
    return rows


def report(rows: dict[str, dict[str, list[str]]], commit: str) -> str:
    """Return the report; a row that only kvmlun passes shows what it adds."""
    lines = [
        "# Campaign",
        "",
        "Made by `python3 -m tests.lab campaign`; do not edit.",
        f"Commit {commit}. `migrate: there_and_back` moves the guest {ROUND_TRIPS['kvmlun']} times "
        f"there and back, with the naive hook {ROUND_TRIPS['naive']} times. No row draws random "
        "numbers.",
        "The naive hook logs in at prepare and logs out at release (`tests/lab/naive-hook`). Where "
        "it passes too, the row shows nothing that kvmlun adds; `-` means that the row needs "
        "something that only kvmlun has.",
        "",
        "| row | kvmlun | naive hook |",
        "|---|---|---|",
    ]
    for row in sorted(set(rows["kvmlun"]) | set(rows["naive"])):
        lines.append(f"| {row} | {_cell(rows['kvmlun'][row])} | {_cell(rows['naive'][row])} |")
    return "\n".join(lines) + "\n"


def _cell(outcomes: list[str]) -> str:
    counts = collections.Counter(outcomes)
    ran = counts["passed"] + counts["failed"]
    return f"{'FAILS' if counts['failed'] else 'passes'} ({ran})" if ran else "-"


def _git(*args: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *args], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
