"""kvmlun doctor --host: what two hosts have to have in common before a VM migrates."""

import contextlib
import json
from collections.abc import Iterator

import pytest

from tests.lab import breaks
from tests.lab.breaks import Break
from tests.lab.machine import Machine
from tests.lab.stage import Stage

ONLY_KVMLUN = "only kvmlun has a doctor"

_VERSION = "/usr/lib/python3/dist-packages/kvmlun/__init__.py"
_ID = "/etc/machine-id"
_KVMLUN = "/usr/bin/kvmlun"

# On the second host, beside the catalog's that need the stage.
_BREAKS = {
    "same initiator name": Break(
        "initiator", "both hosts have the initiator name",
        f"cp -p {breaks.NAME} {breaks.FOLDER}; echo InitiatorName={{initiator}} >{breaks.NAME}",
        f"mv {breaks.FOLDER}/initiatorname.iscsi {breaks.NAME}",
    ),
    "same machine-id": Break(
        "host-id", "machine-id",
        f"cp -p {_ID} {breaks.FOLDER}; echo {{machine_id}} >{_ID}",
        f"cat {breaks.FOLDER}/machine-id >{_ID}",
    ),
    "clock behind": Break("clock", "behind", "date -s '-100 seconds'", "date -s '+100 seconds'"),
    "clock ahead": Break("clock", "ahead", "date -s '+100 seconds'", "date -s '-100 seconds'"),
    "another version": Break(
        "version", "and 0.0.1 on",
        f"cp -p {_VERSION} {breaks.FOLDER}; echo '__version__ = \"0.0.1\"' >>{_VERSION}",
        f"mv {breaks.FOLDER}/__init__.py {_VERSION}",
    ),
    "no kvmlun": Break(
        "version", "is not installed",
        f"mv {_KVMLUN} {breaks.FOLDER}", f"mv {breaks.FOLDER}/kvmlun {_KVMLUN}",
    ),
}  # fmt: skip


@pytest.fixture
def hosts(s: Stage) -> tuple[Machine, Machine]:
    """The first one has a LUN in use, which the second one learns of by migration only."""
    here, there = s.kvms[:2]
    s.know(here, "data", [s.volume("data")])
    here.run("kvmlun connect data-0")
    return here, there


def found(here: Machine, host: str, code: int = 7) -> list[tuple[str, str]]:
    """Return check and cause of each finding."""
    done = here.run(["kvmlun", "doctor", "--json", "--host", host], check=False)
    assert done.rc == code, (done.out, done.err)
    return [(finding["check"], finding["cause"]) for finding in json.loads(done.out)]


@contextlib.contextmanager
def broken(hosts: tuple[Machine, Machine], what: Break) -> Iterator[None]:
    here, there = hosts
    machine_id = here.run("cat /etc/machine-id").out.strip()
    with breaks.broken(there, what, initiator=here.initiator, machine_id=machine_id):
        yield


def give_different_catalogs(s: Stage, here: Machine, there: Machine) -> None:
    volumes = {name: s.volume(name) for name in ("same", "chap", "fenced")}
    s.peer.know(here, "same", [volumes["same"]])
    s.peer.know(there, "same", [s.volume("other")])
    here.put(b"username = u\npassword = secret-of-chap\n", "/etc/kvmlun/secrets/san", 0o600)
    s.peer.know(here, "chap", [volumes["chap"]], secret="san")
    s.peer.know(here, "fenced", [volumes["fenced"]], fencing=True)
    s.peer.know(there, "fenced", [volumes["fenced"]])


def test_two_hosts(s: Stage, hosts: tuple[Machine, Machine]) -> None:
    here, there = hosts
    assert here.run(["kvmlun", "doctor", "--host", there.name]).out == "nothing found\n"
    with contextlib.ExitStack() as all_broken:
        for name in ("same initiator name", "same machine-id", "clock behind", "another version"):
            all_broken.enter_context(broken(hosts, _BREAKS[name]))
        give_different_catalogs(s, here, there)
        told = found(here, there.name)
    checks = ["initiator", "host-id", "clock", "version", "catalog", "secrets", "fencing"]
    assert [check for check, _ in told] == checks
    assert "secret-of-chap" not in here.run("kvmlun doctor --facts").out


@pytest.mark.campaign
@pytest.mark.parametrize("name", _BREAKS)
def test_one_difference(hosts: tuple[Machine, Machine], name: str) -> None:
    here, there = hosts
    with broken(hosts, _BREAKS[name]):
        ((check, cause),) = found(here, there.name)
    assert check == _BREAKS[name].check and _BREAKS[name].told in cause


@pytest.mark.campaign
def test_portals_that_are_not_allowed_there(s: Stage, hosts: tuple[Machine, Machine]) -> None:
    here, there = hosts
    s.peer.configure(there, portals=[])
    ((check, cause),) = found(here, there.name)
    assert check == "portals" and there.name in cause


@pytest.mark.campaign
def test_a_host_that_is_not_there(hosts: tuple[Machine, Machine]) -> None:
    ((check, cause),) = found(hosts[0], "kvm9", code=8)
    assert check == "host" and "ssh kvm9" in cause
