"""Two target servers that give their LUNs one identity, as tgt does unless it is told otherwise."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.lab import CommandFailed, machine, peers, san, tgt, vm, wait_for
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "the naive hook has no proof of identity"

FOUND = (
    "{link}: {second} and {first} both have a LUN {wwid}; "
    "give one of them an identity of its own on the array"
)
# Where the identity of both is known before anything is logged in.
KNOWN = (
    "{second} LUN 1 and {first} LUN 1, which domain {name} uses on this host, both are LUN {wwid}; "
    "stop that domain, or if they are not the same disk give one of them an identity of its own on "
    "the array"
)


@pytest.fixture
def luns(s: Stage) -> Iterator[list[san.Volume]]:
    """The first LUN of each of two servers."""
    octet, address = s.kvms[0].spec.octet, s.san.host.address("san_a")
    with contextlib.ExitStack() as servers:
        yield [
            servers.enter_context(
                tgt.lun(s.san.host, f"{s.base}:vm{n}", f"{address}:35{octet}{n}", octet * 10 + n)
            )
            for n in (1, 2)
        ]


@pytest.mark.parametrize("turned", [False, pytest.param(True, marks=pytest.mark.campaign)])
def test_the_second_of_two_luns_with_one_wwid_is_refused(
    s: Stage, luns: list[san.Volume], turned: bool
) -> None:
    """Whichever is second, beside a VM that runs and beside a disk that nobody uses any more."""
    assert isinstance(s.peer, peers.Kvmlun)
    host = s.kvms[0]
    vms = [s.vm(f"vm{n}", [lun], by_path=True, known_on=[]) for n, lun in enumerate(luns)]
    first, second = reversed(vms) if turned else vms
    s.peer.configure(host, grace=60)
    host.run(["virsh", "start", "--paused", first.uuid], timeout=120)
    assert refused(second, host) == filled(FOUND, first, second)
    first.destroy(host)
    assert refused(second, host) == filled(FOUND, first, second)
    s.peer.configure(host, grace=1)
    s.wait_clean()


@pytest.mark.campaign
def test_a_catalog_that_knows_the_second(s: Stage, luns: list[san.Volume]) -> None:
    host = s.kvms[0]
    first = s.vm("vm1", [luns[0]], by_path=True, known_on=[])
    second = s.vm("vm2", [luns[1]], by_path=True)
    host.run(["virsh", "start", "--paused", first.uuid], timeout=120)
    told = filled(KNOWN, first, second)
    wait_for("the metadata of the first", lambda: refused(second, host) == told, 60)
    first.destroy(host)
    s.wait_clean()


def refused(second: vm.Vm, host: machine.Machine) -> str:
    with pytest.raises(CommandFailed) as caught:
        second.start(host, writing=False)
    _, line = caught.value.err.strip().splitlines()
    return line.partition("exit status 1: kvmlun: ")[2]


def filled(line: str, first: vm.Vm, second: vm.Vm) -> str:
    return line.format(
        link=second.links[0],
        first=first.volumes[0].iqn,
        second=second.volumes[0].iqn,
        name=first.name,
        wwid=tgt.FIRST,
    )
