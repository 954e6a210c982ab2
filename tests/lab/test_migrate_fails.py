"""Migrations that fail: the guest goes on, the destination ends clean, the next one works."""

import re
import signal
from collections.abc import Iterator

import pytest

from tests.lab import CommandFailed, guest, migration, observe, remote, trap, wait_for
from tests.lab.machine import Machine
from tests.lab.shared_vm import Traveller
from tests.lab.vm import LIVE, Vm

WITH_XML = "--xml /tmp/changed.xml"
LAST = "test_libvirtd_killed_at_the_source"


@pytest.fixture
def traveller(shared_traveller: Traveller, failed, request) -> Iterator[Traveller]:
    """A VM whose migration the test lets fail; afterwards it has gone on, and can move.

    In CI only the last row's VM moves, which takes as long as all else.
    """
    made = shared_traveller
    made.open()
    yield made
    if failed():
        made.lost()
        return
    assert made.vm.state(made.here) == "running"
    made.vm.wait_writes(made.here)
    made.held()
    made.stage.wait_clean(made.there)
    if request.config.getoption("--long") or request.node.originalname == LAST:
        made.move(LIVE)


def fails(traveller: Traveller, options: str = LIVE) -> str:
    """Return virsh's text for a migration that must fail."""
    with pytest.raises(CommandFailed) as refused:
        traveller.vm.migrate(traveller.here, traveller.there, options)
    return refused.value.err.strip()


def with_xml(traveller: Traveller, old: str, new: str) -> None:
    """Have another definition ready for a migration with the options WITH_XML."""
    here = traveller.here
    dumped = here.run(f"virsh dumpxml --migratable {traveller.vm.uuid}").out
    changed = re.sub(old, new, dumped)
    assert changed != dumped
    here.put(changed.encode(), "/tmp/changed.xml")


def copied(traveller: Traveller) -> None:
    migration.copied(traveller.vm, traveller.here)


def decided(vm: Vm, there: Machine) -> str:
    """Return what became of a guest that was about to arrive, "" while that is not known."""
    state = vm.state(there)
    return state if state == "running" else "gone" if state in ("", "shut off") else ""


def alive(vm: Vm, host: Machine) -> bool:
    return host.run(["pgrep", "-f", f"uuid {vm.uuid}"], check=False).rc == 0


def agrees(vm: Vm, host: Machine) -> bool:
    return alive(vm, host) == bool(observe.observe(host).sessions)


def begin(traveller: Traveller, options: str) -> remote.Spawned:
    return migration.begin(traveller.vm, traveller.here, traveller.there, options)


def test_refused_in_begin(traveller: Traveller) -> None:
    """What the source itself refuses: the destination is not asked at all."""
    with_xml(traveller, r"<vcpu([^>]*)>1<", r"<vcpu\1>2<")
    assert "does not match source" in fails(traveller, f"{LIVE} {WITH_XML}")


def test_name_taken_at_the_destination(traveller: Traveller) -> None:
    """Found by libvirt between the hooks migrate and prepare: no release follows."""
    there = traveller.there
    other = guest.domain_xml("vm1", "3c1b0f5e-0000-4000-8000-00000000000a", [])
    there.run(["virsh", "define", "/dev/stdin"], input=other)
    try:
        assert "already exists" in fails(traveller)
    finally:
        there.run(["virsh", "undefine", "3c1b0f5e-0000-4000-8000-00000000000a"])


def test_refused_by_our_hook_for_the_cache_mode(traveller: Traveller) -> None:
    vm = traveller.vm
    with_xml(traveller, "cache='none'", "cache='writeback'")
    told = fails(traveller, f"{LIVE} {WITH_XML}")
    # Only a host with a catalog knows the volume by its name.
    name = "vm1-0" if traveller.there is traveller.stage.kvms[0] else f"{vm.volumes[0].iqn} LUN 0"
    assert told.endswith(
        f"kvmlun: disk vda ({name}) has cache='writeback' and could read stale "
        "data after a migration; set cache='none' in its <driver>"
    )


def test_refused_for_a_newer_metadata_format(traveller: Traveller) -> None:
    with_xml(traveller, "(<kvmlun:domain[^>]* version=.)1", r"\g<1>2")
    told = fails(traveller, f"{LIVE} {WITH_XML}")
    assert told.endswith(
        "kvmlun: kvmlun metadata has version '2', this host reads 1; upgrade kvmlun here"
    )


def test_target_cut_off_from_the_destination(traveller: Traveller) -> None:
    vm, there = traveller.vm, traveller.there
    with there.cut("san_a"):
        told = fails(traveller)
    assert len(told.splitlines()) == 1 and vm.volumes[0].iqn in told


def test_already_active_at_the_destination(traveller: Traveller) -> None:
    """Found by libvirt between the hooks migrate and prepare: no release follows."""
    vm, there = traveller.vm, traveller.there
    other = guest.domain_xml("vm1", vm.uuid, [])
    there.run(["virsh", "create", "--paused", "/dev/stdin"], input=other)
    try:
        fails(traveller)
        assert traveller.stage.states()[traveller.stage.kvms.index(there)].sessions == {}
    finally:
        there.run(["virsh", "destroy", vm.uuid])


def test_qemu_that_does_not_start_at_the_destination(traveller: Traveller) -> None:
    """After prepare and start: an emulator that fails."""
    there = traveller.there
    binary = "/usr/bin/qemu-system-x86_64"
    fake = '#!/bin/sh\ncase "$*" in *guest=vm1*) echo broken >&2; exit 1;; esac\n'
    there.put(f'{fake}exec {binary}.real "$@"\n'.encode(), "/tmp/qemu", mode=0o755)
    there.run(
        f"mv {binary} {binary}.real; cp -p /tmp/qemu {binary}; touch -r {binary}.real {binary}"
    )
    try:
        fails(traveller)
    finally:
        there.run(f"mv {binary}.real {binary}")


def test_domjobabort(traveller: Traveller) -> None:
    running = begin(traveller, "")
    traveller.here.run(["virsh", "domjobabort", traveller.vm.uuid])
    assert running.wait().rc != 0


def test_client_killed(traveller: Traveller) -> None:
    """A native migration ends with its client."""
    running = begin(traveller, "")
    running.signal(signal.SIGKILL)
    running.wait()


def test_qemu_killed_at_the_destination(traveller: Traveller) -> None:
    running = begin(traveller, "")
    traveller.there.run(["pkill", "-9", "-f", "guest=vm1"])
    assert running.wait(120).rc != 0


def test_libvirtd_killed_at_the_destination(traveller: Traveller) -> None:
    running = begin(traveller, "--p2p")
    traveller.there.kill_daemon("libvirtd")
    assert running.wait(120).rc != 0


@pytest.mark.campaign
@pytest.mark.parametrize("operation", ["migrate", "prepare", "started"])
def test_libvirtd_killed_at_the_destination_in(traveller: Traveller, operation: str) -> None:
    with trap.libvirtd_dies_at(traveller.there, operation):
        fails(traveller)


@pytest.mark.campaign
def test_qemu_killed_at_the_source(traveller: Traveller) -> None:
    """The guest is lost, and nothing of it is left on either host."""
    running = begin(traveller, "")
    traveller.here.run(["pkill", "-9", "-f", "guest=vm1"])
    assert running.wait(120).rc != 0
    traveller.stage.wait_clean()
    traveller.vm.check_data(traveller.stage.san)
    traveller.vm.start(traveller.here)


@pytest.mark.campaign
def test_client_killed_between_perform_and_finish(traveller: Traveller) -> None:
    """The source stays paused with its disk open, and only an operator can tell that it may go on.

    The client, who alone would call Finish in a native migration, is frozen and never does.
    """
    vm, here = traveller.vm, traveller.here
    running = begin(traveller, "")
    running.signal(signal.SIGSTOP)
    copied(traveller)
    running.signal(signal.SIGKILL)
    running.wait()
    traveller.stage.wait_clean(traveller.there)
    assert vm.state(here) == "paused" and observe.observe(here).targets == [vm.volumes[0].iqn]
    here.run(["virsh", "resume", vm.uuid])


@pytest.mark.campaign
def test_a_lun_attached_later_stays_known_while_the_source_is_paused(traveller: Traveller) -> None:
    """The lease of the start does not speak of it: only libvirt's list does."""
    vm, here, stage = traveller.vm, traveller.here, traveller.stage
    if stage.peer.name != "kvmlun":
        pytest.skip("only kvmlun knows who uses a LUN")
    more = stage.volume("more")
    stage.attach(vm, more)
    running = begin(traveller, "")
    running.signal(signal.SIGSTOP)
    copied(traveller)
    stage.another_comes_and_goes()
    assert observe.users(here, more.wwid) == ["vm1"]
    running.signal(signal.SIGKILL)
    running.wait()
    here.run(["virsh", "resume", vm.uuid])
    here.run(["virsh", "detach-disk", vm.uuid, "vdb", "--live"])
    wait_for("its LUN to go", lambda: more.iqn not in observe.observe(here).targets, 60)


@pytest.mark.campaign
def test_libvirtd_killed_at_the_source_between_perform_and_finish(traveller: Traveller) -> None:
    """As above, peer to peer: a destination that is frozen does not answer Finish."""
    vm, here, there = traveller.vm, traveller.here, traveller.there
    running = begin(traveller, "--p2p")
    with there.frozen("libvirtd"):
        copied(traveller)
        here.kill_daemon("libvirtd")
        assert running.wait(120).rc != 0
        wait_for("libvirt", lambda: vm.state(here) == "paused", 60)
        assert observe.observe(here).targets == [vm.volumes[0].iqn]
    went_on = wait_for("the destination to decide", lambda: decided(vm, there), 60)
    assert observe.observe(here).targets == [vm.volumes[0].iqn], "QEMU has it open there"
    if went_on == "running":
        vm.destroy(here)
        traveller.arrived()
    else:
        here.run(["virsh", "resume", vm.uuid])


@pytest.mark.campaign
def test_qemu_killed_at_the_destination_in_finish(traveller: Traveller) -> None:
    there = traveller.there
    running = begin(traveller, "--p2p")
    with there.frozen("libvirtd"):
        copied(traveller)
        there.run(["pkill", "-9", "-f", "guest=vm1"])
    assert running.wait(120).rc != 0


@pytest.mark.campaign
def test_a_disk_that_the_destination_cannot_write_in_finish(traveller: Traveller) -> None:
    """QEMU 7 to 10 open it for writing only when the guest goes on there."""
    there = traveller.there
    running = begin(traveller, "")
    (disk,) = observe.observe(there).disks
    there.run(["blockdev", "--setro", f"/dev/{disk}"])
    migration.hurry(traveller.vm, traveller.here)
    assert running.wait(120).rc != 0


@pytest.mark.campaign
def test_libvirtd_killed_at_the_destination_in_finish(traveller: Traveller) -> None:
    """libvirt's own split brain: the source goes on although the destination may run as well.

    Storage can only say so with fencing; here neither guest may lose its disk, and nothing leaks.
    """
    vm, here, there = traveller.vm, traveller.here, traveller.there
    running = begin(traveller, "--p2p")
    killer = trap.killer(there, vm, "libvirtd")
    migration.hurry(vm, here)
    assert killer.wait(180).rc == 0, killer.err
    running.wait(180)
    hosts = (here, there)
    for host in hosts:
        wait_for("libvirt", lambda host=host: host.run("virsh list", check=False).rc == 0, 60)
    assert any(alive(vm, host) for host in hosts)
    for host in hosts:
        wait_for("a disk where QEMU is", lambda host=host: agrees(vm, host), 60)
        host.run(["virsh", "destroy", vm.uuid], check=False)
    traveller.stage.wait_clean()
    # Two guests may have written, so this disk has no content that could be right.
    traveller.lost()
    traveller.open()


@pytest.mark.campaign
def test_libvirtd_killed_at_the_source_in_confirm(traveller: Traveller) -> None:
    """The guest is at the destination already; the source is cleaned when libvirtd is back."""
    vm, here = traveller.vm, traveller.here
    with trap.libvirtd_dies_at(here, "stopped"):
        here.run(vm.migration(traveller.there, LIVE), timeout=240, check=False)
    traveller.arrived()
    wait_for("the guest to go on", lambda: vm.state(traveller.here) == "running", 60)


@pytest.mark.campaign
def test_postcopy_broken_and_resumed(traveller: Traveller) -> None:
    """Both sides keep the disk until it is over."""
    vm, here, there = traveller.vm, traveller.here, traveller.there
    for host in (here, there):
        host.run("sysctl -q vm.unprivileged_userfaultfd=1")
    running = begin(traveller, "--postcopy --postcopy-bandwidth 1")
    here.run(["virsh", "migrate-postcopy", vm.uuid])
    wait_for("post-copy", lambda: vm.state(there) == "running", 60)
    here.run(["virsh", "domjobabort", vm.uuid, "--postcopy"])
    assert running.wait(120).rc != 0
    for host in (here, there):
        assert observe.observe(host).targets == [vm.volumes[0].iqn]
    here.run(vm.migration(there, f"{LIVE} --postcopy --postcopy-resume"), timeout=240)
    traveller.arrived()


def test_libvirtd_killed_at_the_source(traveller: Traveller) -> None:
    running = begin(traveller, "--p2p")
    here, vm = traveller.here, traveller.vm
    here.kill_daemon("libvirtd")
    assert running.wait(120).rc != 0
    wait_for("libvirt", lambda: vm.state(here) == "running", 60)
