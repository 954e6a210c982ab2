"""Sessions and node records that somebody else made: used, and left as they were."""

import pytest

from tests.lab import observe, san, wait_for
from tests.lab.machine import Machine
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host

POOL = """\
<pool type="iscsi">
  <name>{name}</name>
  <source><host name="{host}" port="{port}"/><device path="{iqn}"/></source>
  <target><path>/dev/disk/by-path</path></target>
</pool>
"""


def let_another_vm_come_and_go(s: Stage) -> None:
    """When its session has ended, there was time to end any other as well."""
    other = s.vm("vm2", [s.volume("vm2")])
    other.start(s.kvms[0], writing=False)
    other.destroy(s.kvms[0])
    wait_for("vm2's session to end", lambda: other.volumes[0].iqn not in s.states()[0].targets, 60)


def test_a_session_made_by_hand(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    name = f"-T {volume.iqn} -p {volume.portal}"
    host.run(f"iscsiadm -m node {name} -o new && iscsiadm -m node {name} --login")
    vm = s.vm("vm1", [volume])
    before = s.states()[0]
    vm.start(host)
    vm.destroy(host)
    let_another_vm_come_and_go(s)
    after = s.states()[0]
    assert after.sessions == before.sessions and after.records == before.records
    vm.check_data(s.san)
    host.run(f"iscsiadm -m node {name} --logout && iscsiadm -m node {name} -o delete")
    s.wait_clean()


@pytest.mark.campaign
def test_the_session_of_a_libvirt_pool(s: Stage) -> None:
    """The pool's session serves the VM, and ends with the pool only."""
    host, volume = s.kvms[0], s.volume("vm1")
    address, _, port = volume.portal.rpartition(":")
    pool = POOL.format(name="pool1", host=address, port=port, iqn=volume.iqn)
    host.run(["virsh", "pool-create", "/dev/stdin"], input=pool)
    try:
        vm = s.vm("vm1", [volume])
        before = s.states()[0].sessions
        vm.start(host)
        assert s.states()[0].sessions == before
        vm.destroy(host)
        let_another_vm_come_and_go(s)
        assert s.states()[0].sessions == before
        vm.check_data(s.san)
    finally:
        host.run(["virsh", "pool-destroy", "pool1"])
    host.run(f"iscsiadm -m node -T {volume.iqn} -o delete", check=False)
    s.wait_clean()


def records(host: Machine, volume: san.Volume) -> str:
    return host.run(f"find /etc/iscsi/nodes/{volume.iqn} -type f | xargs cat").out


@pytest.mark.parametrize(
    "made_by", ["-o new", pytest.param("discovery", marks=pytest.mark.campaign)]
)
def test_node_records_of_the_operator(s: Stage, made_by: str) -> None:
    """The session is ours and ends; the record, with what the operator set in it, stays."""
    host, volume = s.kvms[0], s.volume("vm1")
    name = f"-T {volume.iqn} -p {volume.portal}"
    if made_by == "discovery":
        host.run(f"iscsiadm -m discovery -t sendtargets -p {volume.portal}")
    else:
        host.run(f"iscsiadm -m node {name} -o new")
    setting = "node.session.queue_depth"
    host.run(f"iscsiadm -m node {name} -o update -n {setting} -v 64")
    before = records(host, volume)
    assert f"{setting} = 64" in before
    vm = s.vm("vm1", [volume])
    vm.start(host)
    assert records(host, volume) == before
    vm.destroy(host)
    wait_for("the session to end", lambda: not observe.observe(host).sessions, 60)
    let_another_vm_come_and_go(s)
    assert records(host, volume) == before
    vm.check_data(s.san)
