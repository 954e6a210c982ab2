"""Migrations that fail: the guest goes on, the destination ends clean, the next one works."""

import re
import signal
from collections.abc import Iterator

import pytest

from tests.lab import CommandFailed, guest, wait_for
from tests.lab.machine import Machine
from tests.lab.stage import Stage
from tests.lab.test_migrate_ways import Traveller
from tests.lab.vm import Vm

LIVE = "--live --persistent --undefinesource"


@pytest.fixture(scope="module")
def house(installed: Stage) -> Iterator[Traveller]:
    made = Traveller(installed)
    yield made
    made.close()


@pytest.fixture
def traveller(house: Traveller, failed) -> Iterator[Traveller]:
    """A VM whose migration the test lets fail; afterwards it has gone on, and can move."""
    vm = house.open()
    yield house
    if failed():
        house.vm = None
        return
    assert vm.state(house.here) == "running"
    vm.wait_writes(house.here)
    house.stage.wait_clean(house.there)
    house.move(LIVE)


def fails(traveller: Traveller, options: str = LIVE) -> str:
    """Return virsh's text for a migration that must fail."""
    assert traveller.vm
    with pytest.raises(CommandFailed) as refused:
        traveller.vm.migrate(traveller.here, traveller.there, options)
    return refused.value.err.strip()


def copying(vm: Vm, host: Machine) -> bool:
    job = host.run(["virsh", "domjobinfo", vm.uuid], check=False).out
    return "Memory processed" in job and "Memory processed: 0" not in job


def begin(traveller: Traveller, options: str):
    """Start a migration that takes long, and return it when memory is being copied."""
    vm, here = traveller.vm, traveller.here
    assert vm
    running = here.spawn(vm.migration(traveller.there, f"{LIVE} --bandwidth 1 {options}"))
    wait_for("memory to be copied", lambda: copying(vm, here), 60)
    return running


def test_refused_in_begin(traveller: Traveller) -> None:
    """--unsafe is not the question: a definition of that name is there already."""
    vm, there = traveller.vm, traveller.there
    assert vm
    other = guest.domain_xml("vm1", "3c1b0f5e-0000-4000-8000-00000000000a", [])
    there.run(["virsh", "define", "/dev/stdin"], input=other)
    try:
        assert "already exists" in fails(traveller)
    finally:
        there.run(["virsh", "undefine", "3c1b0f5e-0000-4000-8000-00000000000a"])


def test_refused_by_our_hook_for_the_cache_mode(traveller: Traveller) -> None:
    vm = traveller.vm
    assert vm
    here = traveller.here
    dumped = here.run(f"virsh dumpxml --migratable {vm.uuid}").out
    here.put(dumped.replace("cache='none'", "cache='writeback'").encode(), "/tmp/cached.xml")
    told = fails(traveller, f"{LIVE} --xml /tmp/cached.xml")
    # Only a host with a catalog knows the volume by its name.
    name = "vm1-0" if traveller.there is traveller.stage.kvms[0] else f"{vm.volumes[0].iqn} LUN 0"
    assert told.endswith(
        f"kvmlun: disk vda ({name}) has cache='writeback' and could read stale "
        "data after a migration; set cache='none' in its <driver>"
    )


def test_refused_for_a_newer_metadata_format(traveller: Traveller) -> None:
    vm = traveller.vm
    assert vm
    here = traveller.here
    dumped = here.run(f"virsh dumpxml --migratable {vm.uuid}").out
    newer = re.sub("(<kvmlun:domain[^>]* version=.)1", r"\g<1>2", dumped)
    assert newer != dumped
    here.put(newer.encode(), "/tmp/newer.xml")
    told = fails(traveller, f"{LIVE} --xml /tmp/newer.xml")
    assert told.endswith(
        "kvmlun: kvmlun metadata has version '2', this host reads 1; upgrade kvmlun here"
    )


def test_target_cut_off_from_the_destination(traveller: Traveller) -> None:
    vm, there = traveller.vm, traveller.there
    assert vm
    there.cut("san_a")
    try:
        told = fails(traveller)
    finally:
        there.restore("san_a")
    assert len(told.splitlines()) == 1 and vm.volumes[0].iqn in told


def test_already_active_at_the_destination(traveller: Traveller) -> None:
    """Found by libvirt between the hooks migrate and prepare: no release follows."""
    vm, there = traveller.vm, traveller.there
    assert vm
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
    assert traveller.vm
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
    traveller.there.run("kill -9 $(systemctl show -P MainPID libvirtd)")
    assert running.wait(120).rc != 0


def test_libvirtd_killed_at_the_source(traveller: Traveller) -> None:
    running = begin(traveller, "--p2p")
    here, vm = traveller.here, traveller.vm
    assert vm
    here.run("kill -9 $(systemctl show -P MainPID libvirtd)")
    assert running.wait(120).rc != 0
    wait_for("libvirt", lambda: vm.state(here) == "running", 60)
