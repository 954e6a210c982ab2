"""kvmlun doctor on a host, which is made clean, and broken, for it."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping

from tests.lab import breaks, machine

_KEPT = "/var/lib/lab/doctor.tar"


@contextlib.contextmanager
def configuration_kept(host: machine.Machine) -> Iterator[None]:
    """Restore at the end what LVM and mdadm are told in /etc."""
    host.run(f"mkdir -p /var/lib/lab; tar -C /etc -cf {_KEPT} lvm mdadm")
    try:
        yield
    finally:
        host.run(f"rm -r /etc/lvm /etc/mdadm; tar -C /etc -xf {_KEPT}; rm {_KEPT}")


def apply(host: machine.Machine) -> None:
    """Write what it prints where it says, and find that it has nothing more to say."""
    done = host.run("kvmlun doctor --json", check=False)
    assert done.rc == 7
    for finding in json.loads(done.out):
        assert finding["file"], finding
        text = "".join(f"{line}\n" for line in finding["lines"])
        host.run(f"mkdir -p $(dirname {finding['file']}) && cat >>{finding['file']}", input=text)
    assert host.run("kvmlun doctor").out == "nothing found\n"


@contextlib.contextmanager
def broken(host: machine.Machine, what: breaks.Break, **names: str) -> Iterator[None]:
    """Break one thing of a host, and mend it at the end; `names` are those in its lines."""
    try:
        host.run(f"set -e; mkdir -p {breaks.FOLDER}; {_filled(what.do, names)}")
        yield
    finally:
        host.run(_filled(what.undo, names))


def _filled(line: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        line = line.replace(f"{{{name}}}", value)
    return line


def found(host: machine.Machine, *options: str, code: int = 7) -> list[tuple[str, str]]:
    """Return check and cause of each finding."""
    done = host.run(["kvmlun", "doctor", "--json", *options], check=False)
    assert done.rc == code, (done.out, done.err)
    return [(finding["check"], finding["cause"]) for finding in json.loads(done.out)]


def check_only(host: machine.Machine, check: str, told: str, *options: str, code: int = 7) -> None:
    """Fail unless there is one finding, of this check and with that in its cause."""
    check_all(host, [(check, told)], *options, code=code)


def check_all(
    host: machine.Machine, wanted: Iterable[tuple[str, str]], *options: str, code: int = 7
) -> None:
    """Fail unless these are the findings: each a check, and a part of a cause."""
    left = found(host, *options, code=code)
    for check, told in wanted:
        matching = [each for each in left if each[0] == check and told in each[1]]
        assert len(matching) == 1, (check, told, left)
        left.remove(matching[0])
    assert left == []
