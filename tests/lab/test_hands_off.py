"""The host leaves a guest's data alone."""

from tests.lab.stage import Stage


def test_a_guests_lvm_is_not_activated(s: Stage) -> None:
    """A volume group on the LUN, put there by another host, as a guest would have done."""
    host, other = s.kvms[:2]
    volume = s.volume("vm1")
    name = f"-T {volume.iqn} -p {volume.portal}"
    other.run(f"iscsiadm -m node {name} -o new && iscsiadm -m node {name} --login && udevadm settle")
    disk = f"$(realpath {volume.by_id})"
    other.run(f"vgcreate guestvg {disk} && lvcreate -y -an -l 50%FREE -n root guestvg; vgchange -an guestvg")
    other.run(f"iscsiadm -m node {name} --logout && iscsiadm -m node {name} -o delete")
    s.wait_clean(other)
    before = s.san.read(volume, 0, 1 << 20)
    vm = s.vm("vm1", [volume])
    vm.start(host, writing=False)
    host.run("udevadm settle; udevadm trigger --settle --subsystem-match=block")
    state = s.states()[0]
    assert [(disk["holders"], disk["partitions"]) for disk in state.disks.values()] == [([], [])]
    assert "guestvg" not in host.run("ls /dev /dev/mapper").out
    assert vm.is_running(host)
    assert len(before) == 1 << 20
    vm.destroy(host)
    s.wait_clean()


def test_a_guests_partitions_and_labels_do_not_show(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    s.san.host.run(
        f"sfdisk -q {volume.path} <<<'start=2048, type=L'; "
        f"mke2fs -q -F -L hostroot -E offset=1048576 {volume.path} 32m"
    )
    vm = s.vm("vm1", [volume])
    vm.start(host, writing=False)
    host.run("udevadm settle; udevadm trigger --settle --subsystem-match=block")
    state = s.states()[0]
    (disk,) = state.disks.values()
    assert disk["partitions"] == []
    assert not any("by-label" in link or "by-uuid" in link for link in state.links)
    vm.destroy(host)
    s.wait_clean()
