"""The host leaves a guest's data alone: what the guest put there is neither used nor changed."""

from tests.lab import san
from tests.lab.stage import Stage

# The guest writes behind what the test put at the start of the disk.
OFFSET = 16 << 20


def run_beside_the_data(s: Stage, volume: san.Volume) -> list[str]:
    """Run a VM on the LUN, provoke udev, and return the links that lead to its disk.

    Fails where the host uses the disk or changed what was at its start.
    """
    host = s.kvms[0]
    before = s.san.read(volume, 0, OFFSET)
    assert any(before)
    vm = s.vm("vm1", [volume], offset=OFFSET)
    vm.start(host)
    host.run("udevadm settle; udevadm trigger --settle --subsystem-match=block")
    state = s.states()[0]
    found = [(disk["holders"], disk["partitions"]) for disk in state.disks.values()]
    vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)
    assert found == [([], [])]
    assert s.san.read(volume, 0, OFFSET) == before
    return list(state.links)


def test_a_guests_lvm_is_not_activated(s: Stage) -> None:
    """A volume group on the LUN, put there by another host, as a guest would have done."""
    other, volume = s.kvms[1], s.volume("vm1")
    name = f"-T {volume.iqn} -p {volume.portal}"
    other.run(f"iscsiadm -m node {name} -o new && iscsiadm -m node {name} --login; udevadm settle")
    other.run(f"vgcreate -y guestvg {volume.by_id}; lvcreate -y -Wn -l 50%FREE -n root guestvg")
    other.run("vgchange -an guestvg; udevadm settle")
    other.run(f"iscsiadm -m node {name} --logout && iscsiadm -m node {name} -o delete")
    s.wait_clean(other)
    run_beside_the_data(s, volume)


def test_a_guests_partitions_and_labels_do_not_show(s: Stage) -> None:
    volume = s.volume("vm1")
    s.san.host.run(
        f"mke2fs -q -F -L hostroot -E offset=1048576 {volume.path} 8m; "
        f"echo start=2048,size=16384,type=L | sfdisk -q {volume.path}"
    )
    links = run_beside_the_data(s, volume)
    assert not [link for link in links if "by-label" in link or "by-uuid" in link]
