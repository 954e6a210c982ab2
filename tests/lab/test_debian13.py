"""Debian 13 hosts (libvirt 11.3, QEMU 10): the main job's own rows there, and migration from 12."""

from collections.abc import Callable, Iterator

import pytest

from tests.lab import Host
from tests.lab.shared_vm import Traveller
from tests.lab.stage import Stage

# The same rows, played on this module's stage.
from tests.lab.test_migrate import (  # noqa: F401
    test_by_path,
    test_refused_by_a_destination_that_cannot_reach_the_target,
    test_there_and_back,
)
from tests.lab.test_start import (  # noqa: F401
    test_guest_crash,
    test_guest_reboot_keeps_the_session,
    test_start_by_id_then_shutdown,
    test_start_by_path_then_destroy,
    test_three_luns_on_two_targets,
    test_two_vms_on_one_target,
)
from tests.lab.vm import LIVE

pytestmark = pytest.mark.campaign

NEWER = Host("kvm3", suite="trixie"), Host("kvm4", suite="trixie")


@pytest.fixture(scope="module")
def newer(installed: Stage) -> Iterator[Stage]:
    """A stage of two Debian 13 hosts, which are there for these rows only."""
    installed.clear()
    with installed.lab.also(*NEWER):
        stage = Stage(installed.lab, installed.peer)
        stage.kvms = [installed.lab[host.name] for host in NEWER]
        stage.install()
        yield stage


@pytest.fixture
def s(newer: Stage, failed: Callable[[], bool]) -> Iterator[Stage]:
    yield newer
    newer.clear()


@pytest.fixture
def round_trips() -> int:
    return 3


def test_from_12_to_13(s: Stage, installed: Stage) -> None:
    mixed = Stage(s.lab, s.peer)
    mixed.kvms = [installed.kvms[0], s.kvms[0]]
    traveller = Traveller(mixed)
    traveller.open()
    traveller.move(LIVE)
    traveller.close()


@pytest.mark.usefixtures("kvmlun")
def test_rules_and_units_as_newer_systemd_reads_them(s: Stage) -> None:
    """Debian 12 has no udevadm verify."""
    host = s.kvms[0]
    host.run("udevadm verify /usr/lib/udev/rules.d/5?-kvmlun*.rules")
    told = host.run("systemd-analyze verify --man=no kvmlund.service kvmlund.socket")
    assert "kvmlun" not in told.out + told.err
