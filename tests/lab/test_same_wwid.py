"""Two target servers that give their LUNs one identity, as tgt does unless it is told otherwise."""

import pytest

from tests.lab import CommandFailed, peers, tgt, vm
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "the naive hook has no proof of identity"

FOUND = (
    "{link}: {second} and {first} both have a LUN {wwid}; "
    "give one of them an identity of its own on the array"
)
# As soon as the metadata of both tells their identity.
KNOWN = (
    "{second} LUN 1 and {first} LUN 1, which domain {name} uses on this host, both are LUN {wwid}; "
    "stop that domain, or if they are not the same disk give one of them an identity of its own on "
    "the array"
)


def test_the_second_of_two_luns_with_one_wwid_is_refused(s: Stage) -> None:
    """Whichever is second, beside a VM that runs and beside a disk that nobody uses any more."""
    assert isinstance(s.peer, peers.Kvmlun)
    host, octet, address = s.kvms[0], s.kvms[0].spec.octet, s.san.host.address("san_a")
    names = {"vm1": f"35{octet}1", "vm2": f"35{octet}2"}
    ends = [
        (f"{s.base}:{name}", f"{address}:{port}", int(port[2:])) for name, port in names.items()
    ]
    with tgt.lun(s.san.host, *ends[0]) as one, tgt.lun(s.san.host, *ends[1]) as two:
        vms = [
            s.vm(name, [volume], by_path=True, known_on=[])
            for name, volume in zip(names, (one, two), strict=True)
        ]
        for first, second in (vms, reversed(vms)):
            s.peer.configure(host, grace=60)
            host.run(["virsh", "start", "--paused", first.uuid])
            assert refused(second, host) in [filled(x, first, second) for x in (FOUND, KNOWN)]
            first.destroy(host)
            assert refused(second, host) == filled(FOUND, first, second)
            s.peer.configure(host, grace=1)
            s.wait_clean()


def refused(second: vm.Vm, host) -> str:
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
