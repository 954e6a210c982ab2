"""The ring's checker, with blocks of the real writer: it must be able to fail."""

import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from tests.lab import ring

LAB = Path(ring.__file__).parent
SLOTS = 8
BLOCK = ring.BLOCK


@pytest.fixture(scope="session")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    binary = tmp_path_factory.mktemp("writer") / "writer"
    gcc = ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-o", binary]
    subprocess.run([*gcc, LAB / "guest/writer.c"], check=True)
    return binary


class Lun:
    """A disk image named as the guest's disk, and the console of who writes to it."""

    def __init__(self, writer: Path, path: Path) -> None:
        self.writer, self.path, self.console = writer, path, ""

    def write(self, rounds: int, *options: str) -> str:
        argv = [self.writer, "--file", "--pace", "0", "--slots", str(SLOTS), "--owner", "vm1"]
        argv += [*options, "--rounds", str(rounds), self.path]
        text = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
        self.console += text
        return text

    def put(self, at: int, data: bytes) -> None:
        with self.path.open("r+b") as file:
            file.seek(at)
            file.write(data)

    def get(self, slot: int) -> bytes:
        return self.path.read_bytes()[slot * BLOCK : (slot + 1) * BLOCK]

    def check(self, **options):
        return ring.check([self.console], self.path, **options)


@pytest.fixture
def lun(writer: Path, tmp_path: Path) -> Lun:
    path = tmp_path / "vda"
    path.write_bytes(bytes(2 * SLOTS * BLOCK))
    return Lun(writer, path)


def violation(report) -> str:
    assert not report.ok
    (line,) = report.violations
    return line


def test_good_ring(lun: Lun):
    lun.write(20)
    lun.write(3)
    report = lun.check(min_reports=23)
    assert report.ok, str(report)
    assert (report.last_reported, report.last_found, report.reports) == (23, 23, 23)
    assert str(report) == "ring vda ok: 23 reports in 1 boots, last reported 23, last found 23"


def test_ring_at_an_offset(lun: Lun):
    lun.write(20, "--offset", str(3 * BLOCK))
    assert lun.get(2) == bytes(BLOCK)
    assert lun.check().ok


def test_later_block_than_reported(lun: Lun):
    lun.write(20)
    lun.console = lun.console[: lun.console.index("RING vda seq=19")]
    assert lun.check().ok


@pytest.mark.parametrize("sector", [0, 1, 64, 127])
def test_torn_block(lun: Lun, sector: int):
    lun.write(10)
    older = lun.get(3)
    lun.write(8)
    lun.put(3 * BLOCK + sector * 512, older[sector * 512 : (sector + 1) * 512])
    line = violation(lun.check())
    assert line.startswith("slot 3, which was to be written next: seq 11 was reported")
    assert "there is a torn block" in line
    assert "127 sectors of seq 11" in line


def test_torn_block_that_was_never_reported(lun: Lun):
    lun.write(3)
    lun.put(5 * BLOCK, lun.get(3)[: BLOCK // 2])
    assert violation(lun.check()) == (
        "slot 5: there is a torn block (64 sectors of nothing, 64 sectors of seq 3)"
    )


def test_lost_write(lun: Lun):
    lun.write(10)
    older = lun.get(3)
    lun.write(8)
    lun.put(3 * BLOCK, older)
    assert violation(lun.check()) == "slot 3: seq 11 was reported, there is the older 3"


def test_swapped_slots(lun: Lun):
    lun.write(10)
    four, five = lun.get(4), lun.get(5)
    lun.put(4 * BLOCK, five + four)
    assert "slot 4: there is seq 5, written for slot 5" in lun.check().violations


def test_wrong_payload_with_right_crc(lun: Lun):
    lun.write(10)
    block = bytearray(lun.get(4))
    block[4096] ^= 1
    block[-4:] = zlib.crc32(block[:-4]).to_bytes(4, "little")
    lun.put(4 * BLOCK, bytes(block))
    assert "wrong payload" in violation(lun.check())


def test_empty_disk(lun: Lun):
    """A guest without its disk's driver: it reports, and its writes go to its own memory."""
    lun.write(20)
    lun.path.write_bytes(bytes(SLOTS * BLOCK))
    report = lun.check()
    assert len(report.violations) == SLOTS
    assert report.violations[0] == "slot 0: seq 16 was reported, there is nothing"
    assert str(report).startswith("ring vda BAD (8): 20 reports in 1 boots")
    assert str(report).endswith("and 3 more")


def test_truncated_image(lun: Lun):
    lun.write(20)
    lun.path.write_bytes(lun.path.read_bytes()[: 2 * BLOCK + 512])
    assert len(lun.check().violations) == SLOTS - 2


def test_other_data(lun: Lun):
    lun.write(20)
    lun.put(2 * BLOCK, b"\1" * BLOCK)
    assert "there is data that is no ring's" in violation(lun.check())


def test_empty_console(lun: Lun):
    lun.write(20)
    lun.console = ""
    assert "only 0 reports" in lun.check(lost_console=True).violations


def test_nothing_at_all(lun: Lun):
    assert violation(lun.check()) == "only 0 reports"
    assert violation(ring.check([], lun.path)) == "only 0 reports"


def test_too_few_reports(lun: Lun):
    lun.write(20)
    assert violation(lun.check(min_reports=21)) == "only 20 reports"


def test_reports_of_another_disk_do_not_count(lun: Lun):
    lun.write(20)
    assert "only 0 reports" in lun.check(disk="vdb").violations


def test_writer_refuses_what_is_no_block_device(lun: Lun, writer: Path):
    run = subprocess.run([writer, lun.path], capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stdout == "FATAL vda not a block device errno=0\n"
    assert run.stdout.strip() in ring.check([run.stdout], lun.path).violations


def test_writer_sees_foreign_data(lun: Lun):
    lun.write(20, "--owner", "vm2")
    lun.console = ""
    text = lun.write(1)
    assert "RING-BAD vda slot=3 seq=19 found=foreign:vm2:vda" in text
    assert "slot 3: there is a block of vm2's vda" in lun.check().violations


def test_writer_sees_a_lost_write(lun: Lun):
    lun.write(10)
    older = lun.get(3)
    lun.write(8)
    lun.put(3 * BLOCK, older)
    assert "RING-BAD vda slot=3 seq=11 found=seq:3\n" in lun.write(1)
    assert not lun.check().ok


def test_writer_sees_what_changes_under_it(lun: Lun, writer: Path):
    argv = [writer, "--file", "--pace", "20", "--slots", str(SLOTS), "--rounds", "12", lun.path]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(7)]
        assert lines[-1] == "RING vda seq=6 slot=6\n"
        lun.put(1 * BLOCK + 4096, b"foreign")
        rest = process.stdout.read()
    assert "RING-BAD vda slot=1 seq=1 found=torn\n" in rest
    assert not ring.check(["".join(lines) + rest], lun.path).ok


def test_guest_errors(lun: Lun):
    lun.write(5)
    lun.console += "RING-ERROR vda seq=6 errno=5 op=write\r\n"
    assert violation(lun.check()) == "RING-ERROR vda seq=6 errno=5 op=write"
    assert lun.check(allow_errors=True).ok


def test_guest_without_disk(lun: Lun):
    lun.write(5)
    lun.console += "GUEST-NODISK vda\r\n"
    assert violation(lun.check()) == "GUEST-NODISK vda"


def test_ring_that_started_anew(lun: Lun):
    lun.write(5)
    lun.path.write_bytes(bytes(SLOTS * BLOCK))
    lun.write(20)
    assert "ring started anew at 1 after a report of 5" in lun.check().violations


def test_migrated_guest(lun: Lun):
    """The second host's console begins in the middle of a line; either order will do."""
    text = lun.write(20).replace("\n", "\r\n")
    cut = text.index("seq=13") + 5
    for consoles in ([text[:cut], text[cut:]], [text[cut:], text[:cut]]):
        report = ring.check(consoles, lun.path)
        assert report.ok, str(report)
        assert report.reports == 19


def test_guest_on_two_hosts(lun: Lun):
    text = lun.write(20)
    other = text[text.index("RING vda seq=18") :]
    report = ring.check([text, other], lun.path)
    assert violation(report) == "3 blocks reported on two hosts, 18 first"


def test_boot_that_no_console_knows(lun: Lun):
    boot = lun.write(20).split("boot=")[1][:36]
    lun.console = lun.console.replace(boot, "0" * 36)
    assert "which no console knows" in violation(lun.check())
    assert lun.check(lost_console=True).ok


def test_half_lines(lun: Lun):
    lun.write(5)
    lun.console += "RING vda seq=9"
    assert lun.check().last_reported == 5
    lun.console += "0 slot=1\r\nRING vda seq=8\r\nRING vdaGUEST-UP boot=x\r\nRING vda seq=9 slot=1"
    report = lun.check()
    assert report.ok, str(report)
    assert report.last_reported == 5


def test_command(lun: Lun, tmp_path: Path):
    lun.write(20)
    console = tmp_path / "vm.console"
    console.write_text(lun.console)
    argv = [sys.executable, "-I", "-S", LAB / "ring.py", lun.path, console]
    run = subprocess.run(argv, capture_output=True, text=True)
    assert (run.returncode, run.stdout.startswith("ring vda ok: 20 reports")) == (0, True), run
    lun.put(BLOCK, bytes(BLOCK))
    run = subprocess.run(argv, capture_output=True, text=True)
    assert (run.returncode, run.stdout.count("\n")) == (1, 1)
    assert "slot 1: seq 17 was reported, there is nothing" in run.stdout
