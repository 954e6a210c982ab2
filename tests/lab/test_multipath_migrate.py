"""A VM on a multipath map moves: each host makes its own map."""

import pytest

from tests.lab import wait_for
from tests.lab.stage import Stage
from tests.lab.vm import LIVE

ONLY_KVMLUN = "the naive hook knows one portal"


@pytest.mark.campaign
def test_a_path_cut_during_a_migration(s: Stage) -> None:
    here, there = s.kvms[:2]
    volume = s.volume("vm1", portals=s.san.portals())
    vm = s.vm("vm1", [volume])
    vm.start(here)
    running = here.spawn(vm.migration(there, f"{LIVE} --bandwidth 2"))
    job = ["virsh", "domjobinfo", vm.uuid]
    wait_for("the copying", lambda: "Memory" in here.run(job, check=False).out, 60)
    with here.cut("san_b"), there.cut("san_b"):
        here.run(["virsh", "migrate-setspeed", vm.uuid, "1000"])
        assert running.wait(240).rc == 0, running.err
        vm.wait_writes(there)
        s.wait_clean(here)
    wait_for("both paths", lambda: [len(p) for p in s.states()[1].maps.values()] == [2], 90)
    vm.migrate(there, here)
    vm.wait_writes(here)
    s.wait_clean(there)
    vm.destroy(here)
    s.wait_clean()
    vm.check_data(s.san)
