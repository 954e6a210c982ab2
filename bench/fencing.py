"""Measures what fencing costs a migration, and what is left of the window between two hosts.

    python3 -m bench.fencing [--tries 20] [--splits 5] [--report docs/fencing-window.md]

Exit code 1 where the pause of a fenced migration is longer than the limit, or data was lost.
"""

import argparse
import contextlib
import dataclasses
import datetime
import logging
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.lab import (
    Lab,
    Machine,
    Spawned,
    observe,
    peers,
    reservations,
    stage,
    target_watch,
    wait_for,
)
from tests.lab.lost_finish import KEEPALIVE, unanswered
from tests.lab.migration import before_finish
from tests.lab.remote import CommandFailed
from tests.lab.vm import Vm

log = logging.getLogger("kvmlun.lab")

ROOT = Path(__file__).resolve().parents[1]
# The pause of a fenced migration against that of the same one without, median of the pairs.
LIMIT = 1.25
UNITS = "kvmlund.socket kvmlund.service"
# virsh event: 2026-11-26 03:16:13.880+0000: event 'lifecycle' for domain 'vm1': Resumed Migrated
_EVENT = re.compile(r"^(\S+ \S+): event 'lifecycle' for domain '(\S+)': (\S+ \S+)", re.M)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m bench.fencing")
    parser.add_argument("--tries", type=int, default=20, help="migrations of each kind")
    parser.add_argument("--splits", type=int, default=5, help="lost Finishes of each kind")
    parser.add_argument("--lab", default="kvmlun")
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with Lab(arguments.lab) as lab:
        play = stage.Stage(lab, peers.Kvmlun())
        play.install()
        moves = measure_moves(play, arguments.tries)
        splits = {case.what: [split(play, case) for _ in range(arguments.splits)] for case in CASES}
        play.clear()
    text = report(moves, splits)
    print(text)
    if arguments.report:
        arguments.report.write_text(text)
    promised = [found for case in CASES if case.promised for found in splits[case.what]]
    bad = moves.ratio() > LIMIT or any(found.data != "whole" for found in promised)
    return int(bad)


class Events:
    """When, in seconds (time(2)), something became of a VM on a host, as libvirt says."""

    def __init__(self, watcher: Spawned) -> None:
        self._watcher = watcher

    def time(self, vm: Vm, event: str) -> float | None:
        for when, name, what in _EVENT.findall(self._watcher.out):
            if (name, what) == (vm.name, event):
                return datetime.datetime.fromisoformat(when).timestamp()
        return None

    def wait(self, vm: Vm, event: str) -> float:
        return wait_for(f"{event} of {vm.name}", lambda: self.time(vm, event), 60)


@contextlib.contextmanager
def events(host: Machine) -> Iterator[Events]:
    watcher = host.spawn("exec virsh event --event lifecycle --loop --timestamp")
    try:
        yield Events(watcher)
    finally:
        watcher.stop()


# What fencing costs


@dataclasses.dataclass
class Moves:
    """Seconds: the pauses side by side; from the guest's going on to the preempt, by each clock."""

    plain: list[float] = dataclasses.field(default_factory=list)
    fenced: list[float] = dataclasses.field(default_factory=list)
    resumed: list[float] = dataclasses.field(default_factory=list)
    written: list[float] = dataclasses.field(default_factory=list)

    def ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.fenced, self.plain, strict=True)]

    def ratio(self) -> float:
        return statistics.median(self.ratios())


def measure_moves(play: stage.Stage, tries: int) -> Moves:
    """Move a VM without fencing and one with, in turn; who does not move stands still."""
    play.clear()
    moves = Moves()
    here, there = play.kvms[:2]
    plain = play.vm("plain", [play.volume("plain")])
    fenced = play.fenced().vm("fenced", [play.volume("fenced")])
    for vm in (plain, fenced):
        vm.start(here)
        here.run(["virsh", "suspend", vm.uuid])
    for number in range(tries):
        for vm in (plain, fenced) if number % 2 else (fenced, plain):
            log.info("move %d: %s", number + 1, vm.name)
            move(play, moves, vm, here, there)
        here, there = there, here
    for vm in (plain, fenced):
        here.run(["virsh", "resume", vm.uuid])
        vm.shutdown(here)
        vm.check_data(play.san)
    return moves


def move(play: stage.Stage, moves: Moves, vm: Vm, here: Machine, there: Machine) -> None:
    (volume,) = vm.volumes
    here.run(["virsh", "resume", vm.uuid])
    vm.wait_writes(here)
    with target_watch.watched(play.san, volume) as watch, events(there) as told:
        vm.migrate(here, there)
        vm.wait_writes(there)
        resumed = told.wait(vm, "Resumed Migrated")
        if vm.name == "fenced":
            reservations.wait_holder(play.san, volume, there)
        begin, end = watch.pause()
        pauses = moves.fenced if vm.name == "fenced" else moves.plain
        pauses.append(end - begin)
        if vm.name == "fenced":
            preempted = wait_for("the preempt", lambda: since(watch, there), 10)
            moves.resumed.append(preempted - resumed)
            moves.written.append(preempted - end)
    there.run(["virsh", "suspend", vm.uuid])
    gone = lambda: volume.iqn not in observe.observe(here).targets  # noqa: E731
    wait_for("its session to go", gone, 60)


def since(watch: target_watch.Watch, host: Machine) -> float | None:
    """Since when a host has held it."""
    times = [time for time, initiator in watch.holders() if initiator == host.initiator]
    return times[0] if times else None


# What is left of the window


@dataclasses.dataclass(frozen=True)
class Case:
    """What happens at the destination while Finish is lost; `promised`: no data is."""

    what: str
    promised: bool


@dataclasses.dataclass(frozen=True)
class Split:
    """Seconds after the guest went on at the destination, None: not seen; `both` is how long both
    guests could write."""

    resumed: float | None
    preempted: float | None
    both: float
    written: int
    data: str


NOTHING = Case("nothing else happens", True)
KILLED = Case("kvmlund is killed before it has seen the guest run", True)
KILLED_SOON = Case("the same, and the client gives up after 3 s", False)
STOPPED = Case("kvmlund is stopped, the client gives up after 3 s, kvmlund is started", False)
BOTH = Case("kvmlund is killed before it has seen the guest run, and libvirtd with it", True)
CASES = (NOTHING, KILLED, BOTH, KILLED_SOON, STOPPED)


def split(play: stage.Stage, case: Case) -> Split:
    log.info("split: %s", case.what)
    play.clear()
    here, there = play.kvms[:2]
    vm = play.fenced().vm("vm1", [play.volume("vm1")])
    vm.start(here)
    with (
        target_watch.watched(play.san, vm.volumes[0]) as watch,
        events(here) as source,
        events(there) as destination,
    ):
        length = lose_finish(case, vm, here, there)
        reservations.wait_holder(play.san, vm.volumes[0], there)
        wait_for("the loser's end", lambda: vm.state(here) == "paused", 60)
        went_on = destination.time(vm, "Resumed Migrated")
        preempted = since(watch, there)
        resumed = source.time(vm, "Resumed Migrated")
    vm.wait_writes(there)
    vm.destroy(here)
    tail = here.run(f"tail -c +{length + 1} {console(vm)}").out
    here.run(["truncate", f"--size={length}", console(vm)])
    vm.shutdown(there)
    return Split(
        resumed=after(went_on, resumed),
        preempted=after(went_on, preempted),
        both=max(0.0, after(resumed, preempted) or 0.0),
        written=tail.count("RING vda"),
        data=verdict(play, vm),
    )


def lose_finish(case: Case, vm: Vm, here: Machine, there: Machine) -> int:
    """Return how long the source's console was before its guest went on again."""
    options = KEEPALIVE if case in (NOTHING, KILLED_SOON, STOPPED) else ""
    with before_finish(vm, here, there, options) as client, contextlib.ExitStack() as until:
        length = size(vm, here)
        if case in (KILLED, BOTH, KILLED_SOON):
            pid = until.enter_context(there.frozen("kvmlund"))
        elif case is STOPPED:
            there.run(f"systemctl stop {UNITS}")
        with unanswered(client, vm, here, there):
            if case is BOTH:
                there.kill_daemon("libvirtd")
            if case in (KILLED, BOTH, KILLED_SOON):
                there.run(["kill", "-9", pid])
        if case is STOPPED:
            vm.wait_writes(here)
            there.run(f"systemctl start {UNITS}")
    return length


def after(first: float | None, later: float | None) -> float | None:
    return None if first is None or later is None else later - first


def console(vm: Vm) -> str:
    return stage.guest.CONSOLE.format(name=vm.name)


def size(vm: Vm, host: Machine) -> int:
    return int(host.run(["stat", "-c", "%s", console(vm)]).out)


def verdict(play: stage.Stage, vm: Vm) -> str:
    """Whether all that the winner's guest was told is written is there."""
    try:
        vm.check_data(play.san)
    except CommandFailed as bad:
        log.info("%s", bad)
        return "lost"
    return "whole"


# The report


def report(moves: Moves, splits: dict[str, list[Split]]) -> str:
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    noise = [b / a for a, b in zip(moves.plain, moves.plain[1:], strict=False)]
    lines = [
        "# What fencing costs a migration, and its window",
        "",
        "Made by `python3 -m bench.fencing --report docs/fencing-window.md`; do not edit.",
        f"{datetime.date.today()}, commit {commit}, libvirt 9.0. Hosts are emulated: compare "
        "ratios, not times.",
        "",
        "## The guest's pause",
        "",
        f"The longest time in which the target saw no write, {len(moves.plain)} migrations of a VM "
        f"without fencing and {len(moves.fenced)} of one with, in turn, there and back.",
        "",
        "| | median | shortest | longest |",
        "|---|---|---|---|",
        row("not fenced", moves.plain),
        row("fenced", moves.fenced),
        "",
        f"Ratio of the two of a turn: median {moves.ratio():.2f} (limit {LIMIT}), from "
        f"{min(moves.ratios()):.2f} to {max(moves.ratios()):.2f}. "
        + (
            f"Two turns without fencing differ by {min(noise):.2f} to {max(noise):.2f}."
            if noise
            else ""
        ),
        "",
        "## From the guest's going on to the preempt",
        "",
        "Until then the source's key is still on the target. Its guest stands still all that time, "
        "unless Finish is lost.",
        "",
        f"| {len(moves.resumed)} migrations | median | shortest | longest |",
        "|---|---|---|---|",
        row("after libvirt's `Resumed Migrated` there", moves.resumed),
        row("after the guest's first write there", moves.written),
        "",
        "## When Finish is lost",
        "",
        "The destination carries out Finish, and its answer is lost on the way: libvirt resumes "
        "the source as well. Times are seconds after the guest went on there; `both` "
        "is how long both guests could write, `by the loser` how many blocks the source's guest "
        "reported in that time (one of them may be written before it was stopped), and data is "
        "`whole` if every block that the winner's guest was told is written is there, in its "
        "order. In the end one guest went on each time, and the source's was paused.",
        "",
        "| what else happens | preempt | source resumed | both | by the loser | data |",
        "|---|---|---|---|---|---|",
    ]
    for what, found in splits.items():
        lines += [
            f"| {what} | {shown(s.preempted)} | {shown(s.resumed)} | {s.both:.2f} | {s.written} "
            f"| {s.data} |"
            for s in found
        ]
    return "\n".join(lines) + "\n"


def row(what: str, seconds: Sequence[float]) -> str:
    middle = statistics.median(seconds)
    return f"| {what} | {middle:.2f} s | {min(seconds):.2f} s | {max(seconds):.2f} s |"


def shown(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f}"


if __name__ == "__main__":
    sys.exit(main())
