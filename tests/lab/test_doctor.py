"""kvmlun doctor on real hosts: nothing on a clean one, else exactly what was broken."""

import contextlib
import json
from collections.abc import Iterator

import pytest

from tests.lab import breaks, hands, san, wait_for
from tests.lab.machine import Machine
from tests.lab.pool import Pools
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "only kvmlun has a doctor"

# Each in a row of its own only in a campaign; none of them needs a LUN.
_TOGETHER = (
    "kvmlund down",
    "hook gone",
    "no iscsid socket",
    "example initiator name",
    "open-iscsi 2.1.10",
    "open-iscsi stops all",
    "udev's rules",
    "lvm",
    "mdadm",
    "multipath",
    "clock",
)


@pytest.fixture(scope="module")
def clean(installed: Stage) -> Iterator[None]:
    """The first host as doctor wants it to be: it found nothing when this was made."""
    if installed.peer.name == "naive":
        yield
        return
    host = installed.kvms[0]
    with hands.configuration_kept(host):
        hands.apply_what_doctor_says(host)
        yield


@pytest.fixture
def host(s: Stage, clean: None) -> Machine:
    return s.kvms[0]


@pytest.fixture
def lun(s: Stage, host: Machine) -> Iterator[san.Volume]:
    """A LUN that is here without a VM."""
    made = s.volume("data")
    s.peer.know(host, "data", [made])
    host.run("kvmlun connect data-0")
    yield made
    host.run("kvmlun disconnect data-0")


def found(host: Machine, code: int = 7) -> list[tuple[str, str]]:
    """Return check and cause of each finding."""
    done = host.run("kvmlun doctor --json", check=False)
    assert done.rc == code, (done.out, done.err)
    return [(finding["check"], finding["cause"]) for finding in json.loads(done.out)]


def check_only(host: Machine, check: str, told: str) -> None:
    ((which, cause),) = found(host)
    assert which == check and told in cause


def test_everything_at_once(host: Machine) -> None:
    wanted = [breaks.BREAKS[name] for name in _TOGETHER]
    with contextlib.ExitStack() as broken:
        for each in wanted:
            broken.enter_context(breaks.broken(host, each))
        causes = found(host)
    assert [check for check, _ in causes] == [each.check for each in wanted]
    for (_, cause), each in zip(causes, wanted, strict=True):
        assert each.told in cause
    assert host.run("kvmlun doctor").out == "nothing found\n"


@pytest.mark.campaign
@pytest.mark.parametrize("name", [n for n, each in breaks.BREAKS.items() if not each.lun])
def test_one_thing(host: Machine, name: str) -> None:
    each = breaks.BREAKS[name]
    with breaks.broken(host, each):
        check_only(host, each.check, each.told)


@pytest.mark.campaign
@pytest.mark.parametrize("name", [n for n, each in breaks.BREAKS.items() if each.lun])
def test_one_thing_about_a_lun(host: Machine, lun: san.Volume, name: str) -> None:
    each = breaks.BREAKS[name]
    assert found(host, code=0) == []
    with breaks.broken(host, each, session=breaks.session(host, lun)):
        check_only(host, each.check, each.told)


@pytest.mark.campaign
def test_a_pool_that_takes_a_disk_away(s: Stage, host: Machine, pools: Pools) -> None:
    """Somebody has it open, as a VM's QEMU would (test_pools.py has one)."""
    volume, _ = pools.vm("vm1", [host])
    assert found(host, code=0) == []
    start = f"systemd-run --unit={breaks.OPENER} sh -c 'exec sleep 1000 <{volume.by_id}'"
    host.run(start)
    try:
        wait_for(
            "the disk open", lambda: host.run(f"fuser -s {volume.by_id}", check=False).rc == 0, 20
        )
        check_only(host, "pools", "pool-destroy pool-vm1 would log out")
    finally:
        host.run(f"systemctl stop {breaks.OPENER}")
    assert found(host, code=0) == []


@pytest.mark.campaign
def test_a_target_without_reservations(s: Stage, host: Machine) -> None:
    volume = s.san.create(f"{s.base}:data", attributes={"emulate_pr": 0})
    s.fenced().know(host, "data", [volume])
    assert found(host, code=0) == []
    host.run("kvmlun connect data-0")
    check_only(host, "reservations", "no persistent reservations")
    host.run("kvmlun disconnect data-0")


@pytest.mark.campaign
def test_what_can_not_be_asked_is_not_clean(host: Machine) -> None:
    host.run("chmod a-x /usr/bin/virsh")
    try:
        ((check, cause),) = found(host, code=8)
    finally:
        host.run("chmod a+x /usr/bin/virsh")
    assert check == "hook" and "virsh" in cause


@pytest.mark.campaign
def test_the_question_leaves_nothing_behind(s: Stage, host: Machine) -> None:
    """libvirt has no domain of it, not even for a moment, and our journal no refusal."""
    events = host.spawn("exec stdbuf -oL virsh event --loop --all")
    try:
        first = s.vm("first", [])
        wait_for("an event", lambda: "first" in events.out, 20)
        assert found(host, code=0) == []
        last = s.vm("last", [])
        wait_for("another", lambda: "last" in events.out, 20)
        assert "kvmlun-doctor" not in events.out
    finally:
        events.stop()
    assert set(host.run("virsh list --all --name").out.split()) == {first.name, last.name}
    assert host.run("ls -d /run/kvmlun-doctor*", check=False).rc != 0
    assert host.run("journalctl -u kvmlund --since -1min | grep refused", check=False).rc == 1


_PROFILE = "/etc/apparmor.d/usr.sbin.libvirtd"
_LOCAL = "/etc/apparmor.d/local/usr.sbin.libvirtd"


@pytest.mark.campaign
def test_apparmor(host: Machine) -> None:
    """libvirt confined as on any Debian host, and then by one rule too many."""
    host.kernel.more.append("security=apparmor")
    try:
        host.reboot()
        host.run("virsh list")
        confined = host.run("cat /proc/$(pgrep -x libvirtd)/attr/current").out
        assert confined == "libvirtd (enforce)\n"
        assert found(host, code=0) == []
        host.run(f"echo 'deny /usr/sbin/kvmlun-hook x,' >>{_LOCAL}; apparmor_parser -r {_PROFILE}")
        check_only(host, "apparmor", "profile libvirtd")
    finally:
        host.run(f"rm -f {_LOCAL}; touch {_LOCAL}; apparmor_parser -r {_PROFILE}", check=False)
        host.kernel.more.remove("security=apparmor")
        host.reboot()
