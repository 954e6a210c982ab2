"""Proves from a guest's consoles and its LUN that no reported block was lost, torn or foreign.

Runs on the SAN host too, alone: python3 -I -S ring.py [--disk vda] IMAGE CONSOLE... (exit 0 or 1).
What guest/writer.c and guest/init print:

    GUEST-UP boot=B <kernel command line>
    GUEST-NODISK vda | GUEST-STOPPED | GUEST-STUCK | GUEST-GO vda,vdb
    GUEST-POWEROFF | GUEST-REBOOT | GUEST-PANIC | GUEST-UNKNOWN word
    RING-START vda owner=O boot=B size=N offset=N slots=N next=SEQ empty=N other=N
    RING vda seq=N slot=K
    RING-ERROR vda seq=N errno=E op=read|write|sync
    RING-BAD vda slot=K seq=EXPECTED found=empty|other|torn|seq:N|foreign:O:D
    FATAL vda WHY errno=E
"""

import argparse
import re
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = 64 * 1024
SECTOR = 512
SLOTS = 64
SHOWN = 5
MAGIC = b"KVMLRING"
HEADER = struct.Struct("<8sIIQII40s32s16s8x")
UNIT = struct.Struct("<QIIQQ")
MASK = 2**64 - 1

REPORT = re.compile(r"RING (\w+) seq=(\d+) slot=(\d+)$")
START = re.compile(
    r"RING-START (\w+) owner=(\S+) boot=(\S+) size=\d+ offset=(\d+) slots=(\d+) next=(\d+) "
)
UP = re.compile(r"GUEST-UP boot=([0-9a-f-]{36})")
ERROR = re.compile(r"RING-ERROR (\w+) .*")
BAD = re.compile(r"(?:RING-BAD|FATAL|GUEST-NODISK) (\S+).*")


@dataclass(frozen=True)
class Block:
    slot: int
    seq: int
    boot: str
    owner: str
    disk: str


@dataclass(frozen=True)
class Empty:
    slot: int

    def __str__(self) -> str:
        return "nothing"


@dataclass(frozen=True)
class Other:
    slot: int

    def __str__(self) -> str:
        return "data that is no ring's"


@dataclass(frozen=True)
class Torn:
    slot: int
    why: str

    def __str__(self) -> str:
        return f"a torn block ({self.why})"


Found = Block | Empty | Other | Torn


@dataclass
class Ring:
    """What the consoles say of one disk."""

    slots: int = 0  # 0: the writer was started on another host
    offset: int = 0
    owners: set[str] = field(default_factory=set)
    lines: list[tuple[int, int | None]] = field(default_factory=list)  # (seq, slot), (next, None)
    errors: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)

    def last(self) -> dict[int, int]:
        """Return the last reported sequence of each slot."""
        reports = [(slot, seq) for seq, slot in self.lines if slot is not None]
        return dict(sorted(reports, key=lambda report: report[1]))

    def newest(self) -> int:
        return max(self.last().values(), default=0)


@dataclass
class Console:
    boots: set[str] = field(default_factory=set)
    rings: dict[str, Ring] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)  # of no disk

    def ring(self, disk: str) -> Ring:
        return self.rings.setdefault(disk, Ring())


@dataclass(frozen=True)
class Report:
    disk: str
    reports: int
    last_reported: int
    last_found: int
    boots: int
    violations: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.violations

    def __str__(self) -> str:
        verdict = "ok" if self.ok else f"BAD ({len(self.violations)})"
        line = (
            f"ring {self.disk} {verdict}: {self.reports} reports in {self.boots} boots, "
            f"last reported {self.last_reported}, last found {self.last_found}"
        )
        more = [f"and {len(self.violations) - SHOWN} more"] if len(self.violations) > SHOWN else []
        return "; ".join((line, *self.violations[:SHOWN], *more))


def parse_console(text: str) -> Console:
    """Read the console of one guest on one host; what has no line end yet does not count."""
    console = Console()
    for line in text.replace("\0", "").split("\n")[:-1]:
        _parse_line(console, line.rstrip("\r"))
    return console


def _parse_line(console: Console, line: str) -> None:
    # search, not match: a killed QEMU leaves half a line, and the next boot goes on behind it
    if m := REPORT.search(line):
        console.ring(m[1]).lines.append((int(m[2]), int(m[3])))
    elif m := START.search(line):
        console.boots.add(m[3])
        ring = console.ring(m[1])
        ring.owners.add(m[2])
        ring.offset, ring.slots = int(m[4]), int(m[5])
        ring.lines.append((int(m[6]), None))
    elif m := UP.search(line):
        console.boots.add(m[1])
    elif m := ERROR.search(line):
        console.ring(m[1]).errors.append(m[0])
    elif m := BAD.search(line):
        (console.ring(m[1]).bad if m[1] != "-" else console.bad).append(m[0])


def merge(consoles: Iterable[Console], disk: str) -> Ring:
    """Merge what a guest's consoles on several hosts say of a disk; their order does not matter."""
    rings = [console.rings[disk] for console in consoles if disk in console.rings]
    merged = Ring()
    for ring in rings:
        if ring.slots:
            merged.slots, merged.offset = ring.slots, ring.offset
        merged.owners |= ring.owners
        merged.errors += ring.errors
        merged.bad += ring.bad
    merged.slots = merged.slots or SLOTS
    seen: set[int] = set()
    for ring in rings:
        seqs = _follow(ring.lines, merged)
        if twice := seen.intersection(seqs):
            merged.bad.append(f"{len(twice)} blocks reported on two hosts, {min(twice)} first")
        seen.update(seqs)
    merged.lines = [(seq, seq % merged.slots) for seq in sorted(seen)]
    return merged


def _follow(lines: Iterable[tuple[int, int | None]], merged: Ring) -> list[int]:
    newest = 0
    seqs = []
    for seq, slot in lines:
        if slot is None:
            if seq <= newest:
                merged.bad.append(f"ring started anew at {seq} after a report of {newest}")
                newest = seq - 1
        elif seq % merged.slots == slot:  # else two half lines: it left and came back in mid-line
            if seq <= newest:
                merged.bad.append(f"report of {seq} after one of {newest}")
            newest = max(newest, seq)
            seqs.append(seq)
    return seqs


def read_ring(image: bytes | Path, offset: int = 0, slots: int = SLOTS) -> list[Found]:
    """Read every slot; what the image is too short for is Empty."""
    if isinstance(image, bytes):
        data = image[offset : offset + slots * BLOCK]
    else:
        with image.open("rb") as file:
            file.seek(offset)
            data = file.read(slots * BLOCK)
    return [_read_slot(data[slot * BLOCK : (slot + 1) * BLOCK], slot) for slot in range(slots)]


def _read_slot(data: bytes, slot: int) -> Found:
    if not any(data):
        return Empty(slot)
    sectors = _sectors(data)
    if len(data) < BLOCK or not data.startswith(MAGIC):
        return Torn(slot, _mixture(sectors)) if any(sectors) else Other(slot)
    _, version, at, seq, length, _, boot, owner, disk = HEADER.unpack_from(data)
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        return Torn(slot, _mixture(sectors))
    block = Block(at, seq, _text(boot), _text(owner), _text(disk))
    if (version, length) != (1, BLOCK) or data[HEADER.size : -4] != _payload(block):
        return Torn(slot, "wrong payload with a right CRC")
    return block


def _payload(block: Block) -> bytes:
    key = int(block.boot.replace("-", "")[:16], 16)
    mix = block.seq * 0x9E3779B97F4A7C15
    sectors = (
        UNIT.pack(block.seq, sector, block.slot, key, (mix + sector) & MASK) * (SECTOR // UNIT.size)
        for sector in range(BLOCK // SECTOR)
    )
    return b"".join(sectors)[HEADER.size : -4]


def _sectors(data: bytes) -> list[int]:
    """Return which sequence wrote each sector, 0 for none."""
    return [_sector_seq(data[at : at + SECTOR]) for at in range(0, len(data), SECTOR)]


def _sector_seq(sector: bytes) -> int:
    if len(sector) < SECTOR:
        return 0
    seq, number, _, _, mix = UNIT.unpack_from(sector, SECTOR // 2)
    return seq if mix == (seq * 0x9E3779B97F4A7C15 + number) & MASK else 0


def _mixture(sectors: list[int]) -> str:
    names = {seq: f"seq {seq}" if seq else "nothing" for seq in sorted(set(sectors))}
    return ", ".join(f"{sectors.count(seq)} sectors of {name}" for seq, name in names.items())


def _text(padded: bytes) -> str:
    return padded.rstrip(b"\0").decode(errors="replace")


def check(
    consoles: Iterable[str],
    image: bytes | Path,
    *,
    disk: str = "vda",
    min_reports: int = 1,
    allow_errors: bool = False,
    lost_console: bool = False,
) -> Report:
    """Compare one disk of a guest with the texts of all its consoles, one per host.

    Read the consoles first, then the image, and that only while nobody writes.
    allow_errors: the test made I/O fail. lost_console: a killed host took its console with it.
    """
    parsed = [parse_console(text) for text in consoles]
    ring = merge(parsed, disk)
    boots = set().union(*(console.boots for console in parsed))
    found = read_ring(image, ring.offset, ring.slots)
    violations = [line for console in parsed for line in console.bad] + ring.bad
    if not allow_errors:
        violations += ring.errors
    if len(ring.lines) < max(min_reports, 1):
        violations.append(f"only {len(ring.lines)} reports")
    last = ring.last()
    for slot, content in enumerate(found):
        violations += _check_slot(ring, slot, content, disk, last)
    blocks = [content for content in found if isinstance(content, Block)]
    if not lost_console:
        unknown = {block.boot for block in blocks} - boots
        violations += [f"blocks of boot {boot}, which no console knows" for boot in sorted(unknown)]
    newest = max((block.seq for block in blocks), default=0)
    return Report(disk, len(ring.lines), ring.newest(), newest, len(boots), tuple(violations))


def _check_slot(
    ring: Ring, slot: int, found: Found, disk: str, last: Mapping[int, int]
) -> Iterator[str]:
    reported = last.get(slot)
    if not isinstance(found, Block):
        if reported is not None:
            next_one = (max(last.values()) + 1) % ring.slots == slot
            hint = ", which was to be written next" if next_one else ""
            yield f"slot {slot}{hint}: seq {reported} was reported, there is {found}"
        elif isinstance(found, Torn):
            yield f"slot {slot}: there is {found}"
        return
    if found.slot != slot or found.seq % ring.slots != slot:
        yield f"slot {slot}: there is seq {found.seq}, written for slot {found.slot}"
    if reported is not None and found.seq < reported:
        yield f"slot {slot}: seq {reported} was reported, there is the older {found.seq}"
    if found.disk != disk or (ring.owners and found.owner not in ring.owners):
        yield f"slot {slot}: there is a block of {found.owner}'s {found.disk}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Check a guest's LUN against its consoles")
    parser.add_argument("--disk", default="vda", help="the guest's name of the disk")
    parser.add_argument("--min-reports", type=int, default=1, metavar="N")
    parser.add_argument("--allow-errors", action="store_true", help="the test made I/O fail")
    parser.add_argument("--lost-console", action="store_true", help="a host took one with it")
    parser.add_argument("image", type=Path)
    parser.add_argument("console", type=Path, nargs="+")
    args = parser.parse_args()
    report = check(
        [console.read_bytes().decode(errors="replace") for console in args.console],
        args.image,
        disk=args.disk,
        min_reports=args.min_reports,
        allow_errors=args.allow_errors,
        lost_console=args.lost_console,
    )
    print(report)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
