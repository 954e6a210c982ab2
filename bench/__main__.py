"""Times kvmlun against what an operator would type, side by side in one lab; prints ratios.

    python3 -m bench [--rounds 25] [--report docs/benchmark.md]

Exit code 1 where a ratio is above its limit.
"""

import argparse
import datetime
import json
import logging
import statistics
import subprocess
import sys
from pathlib import Path

from tests.lab import Lab, guest, peers, stage

ROOT = Path(__file__).resolve().parents[1]
UUID = "3c1b0f5e-0000-4000-8000-00000000000b"
# What is compared with what, and the limit of the ratio.
COMPARED = (
    ("prepare", "raw", 0.8, "hook `prepare` against `iscsiadm -o new`, `--login` and the link"),
    ("not_ours", "python", 1.3, "hook for a VM that is not ours against `python3 -I -S -c pass`"),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m bench")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--lab", default="kvmlun")
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    seconds = measure(arguments.lab, arguments.rounds)
    rows = [row(seconds, *compared) for compared in COMPARED]
    text = report(rows, seconds, arguments.rounds)
    print(text)
    if arguments.report:
        arguments.report.write_text(text)
    return 0 if all(ratio <= limit for *_, ratio, limit in rows) else 1


def measure(name: str, rounds: int) -> dict[str, list[float]]:
    """Return seconds by way, measured on the host itself."""
    with Lab(name) as lab:
        play = stage.Stage(lab, peers.Kvmlun())
        play.install()
        play.clear()
        # The first one shares its CPU with the SAN.
        host, volume = play.kvms[1], play.volume("bench")
        play.peer.know(host, "bench", [volume])
        request = {
            "rounds": rounds,
            "target": volume.iqn,
            "portal": volume.portal,
            "link": volume.by_id,
            "xml": guest.domain_xml("bench", UUID, [guest.Disk(volume.by_id)]),
            "plain": guest.domain_xml("plain", UUID, []),
        }
        host.put(ROOT / "bench/on_host.py", "/usr/local/lib/kvmlun-lab/bench.py")
        command = ["python3", "/usr/local/lib/kvmlun-lab/bench.py"]
        answer = host.run(command, timeout=60 * rounds + 60, input=json.dumps(request))
        play.clear()
    found: dict[str, list[float]] = json.loads(answer.out)
    return found


def row(
    seconds: dict[str, list[float]], ours: str, theirs: str, limit: float, what: str
) -> tuple[str, float, float, float, float]:
    """The ratio is the median of those of the rounds, so that a machine that slows down cancels."""
    mine, other = statistics.median(seconds[ours]), statistics.median(seconds[theirs])
    ratios = (a / b for a, b in zip(seconds[ours], seconds[theirs], strict=True))
    return what, mine, other, statistics.median(ratios), limit


def report(
    rows: list[tuple[str, float, float, float, float]],
    seconds: dict[str, list[float]],
    rounds: int,
) -> str:
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    lines = [
        "# Benchmark",
        "",
        "Made by `python3 -m bench --report docs/benchmark.md`; do not edit.",
        f"Medians of {rounds} rounds ({rounds * 4} for the second row), alternating, on one host "
        f"of the lab, {datetime.date.today()}, commit {commit}. A ratio is the median of those of "
        "the rounds.",
        "The host has lvm2, mdadm, multipath-tools and sg3-utils-udev installed; the raw way runs "
        "under the stock rules.",
        "",
        "| what | kvmlun | the other | ratio | limit |",
        "|---|---|---|---|---|",
    ]
    python = statistics.median(seconds["python"])
    lines += [
        f"| {what} | {mine * 1000:.0f} ms | {other * 1000:.0f} ms | {ratio:.2f} | {limit} |"
        for what, mine, other, ratio, limit in rows
    ]
    rounds_without = zip(seconds["prepare"], seconds["raw"], strict=True)
    without = statistics.median((prepare - python) / raw for prepare, raw in rounds_without)
    lines += [
        "",
        f"`prepare` has {python * 1000:.0f} ms in it for the start of Python alone, which is 1,500 "
        "page faults: each takes 70 us on a user-mode host, a hundred times what it takes on real "
        f"hardware. Without them the first ratio is {without:.2f}.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
