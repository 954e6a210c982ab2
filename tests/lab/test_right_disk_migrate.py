"""The destination proves that it sees the LUN that the source has, size included."""

import dataclasses

import pytest

from tests.lab import CommandFailed, wait_for
from tests.lab.san import Volume
from tests.lab.stage import Stage

MIB = 1 << 20


def test_a_destination_that_sees_another_lun(s: Stage) -> None:
    """Its catalog has the volume at another address, as a host's may, where another LUN is."""
    one, two = s.kvms[:2]
    volume = s.volume("vm1")
    vm = s.vm("vm1", [volume])
    vm.start(one)
    size = f'size="{volume.size}"'
    wait_for("the metadata", lambda: size in one.run(["virsh", "dumpxml", vm.uuid]).out, 30)

    def refused(there: Volume, *said: str) -> None:
        s.peer.know(two, "vm1", [dataclasses.replace(there, wwid=volume.wwid)])
        with pytest.raises(CommandFailed) as caught:
            vm.migrate(one, two)
        told = caught.value.err.strip()
        assert len(told.splitlines()) == 1
        assert [text for text in said if text not in told] == [], told

    iqn = f"{s.base}:elsewhere"
    smaller = s.san.create(iqn, size=volume.size - MIB, serial=volume.serial)
    refused(smaller, str(volume.size), str(smaller.size))
    other = s.san.swap(smaller)
    refused(other, volume.wwid, other.wwid)
    vm.wait_writes(one)
    s.wait_clean(two)
    s.peer.know(two, "vm1", [])
    vm.migrate(one, two)
    vm.wait_writes(two)
    vm.destroy(two)
    s.wait_clean()
    vm.check_data(s.san)
