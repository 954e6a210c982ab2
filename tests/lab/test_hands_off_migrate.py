"""Hands off on a host that knows nothing of the guest but what came with its migration."""

import pytest

from tests.lab import doctor, hands, own, signatures
from tests.lab.stage import Stage

ONLY_KVMLUN = "the naive hook has to be told"


@pytest.mark.campaign
def test_every_signature_arrives_by_migration(s: Stage) -> None:
    one, two = s.kvms[:2]
    two.run("find /etc/kvmlun -type f -delete; systemctl restart kvmlund")
    with own.things(two) as things:
        doctor.apply(two)
        disks = signatures.make(s, things)
        two.run(f"multipath -a {disks.listed}")
        before, _ = hands.look(two, disks.all)
        vm = s.vm("vm1", disks.all, offset=signatures.OFFSET, writes_to=1)
        vm.start(one)
        vm.migrate(one, two)
        vm.wait_writes(two)
        hands.check_off(two, disks.all, before)
        vm.destroy(two)
        two.run(f"multipath -w {disks.listed}")
        s.wait_clean()
    vm.check_data(s.san)
    assert disks.sums == disks.now(s.san)
