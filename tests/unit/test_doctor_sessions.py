"""What may take a guest's disk away too soon: a time-out, and a pool of libvirt's."""

import dataclasses

from kvmlun.doctor import sessions
from kvmlun.lun import Portal
from kvmlun.pools import Pool
from kvmlun.sysfs import Disk, Session

from .worlds import TARGET

DISK = Disk("sda", "2:0:0:0", 0, "8:0", 1 << 20, False, "running", "naa.6", (), ())
SESSION = Session(3, TARGET, Portal("10.77.1.1"), "LOGGED_IN", 2, (DISK,))
MARK = f"ip-10.77.1.1:3260-iscsi-{TARGET}-lun-0"
POOL = Pool("san", TARGET, "10.77.1.1", "3260")


def replacement(seconds, session=SESSION, marks=(MARK,)):
    return list(sessions.replacement([session], marks, {3: seconds}.get, 120.0))


def test_how_long_a_guests_disk_waits_for_its_session():
    for enough in ("120", "3600", "off", "-1", ""):
        assert replacement(enough) == []
    for less in ("0", "5", "119"):
        (finding,) = replacement(less)
        assert f"lost for {less} s, not 120 s" in finding.cause
        assert "/session3/recovery_tmo" in finding.remedy and TARGET in finding.remedy


def test_the_hosts_own_disks_and_the_paths_of_a_map_may_fail_soon():
    assert replacement("5", marks=()) == []
    path = dataclasses.replace(SESSION, disks=(dataclasses.replace(DISK, map="dm-0"),))
    assert replacement("5", path) == []


def pools(pool=POOL, session=SESSION, users=("qemu-system-x86 (77)",)):
    return list(sessions.pools([pool], [session], lambda disk: list(users)))


def test_a_pool_whose_end_takes_a_disk_away():
    (finding,) = pools()
    assert "pool-destroy san" in finding.cause
    assert "/dev/sda from qemu-system-x86 (77)" in finding.cause
    assert pools(dataclasses.replace(POOL, host="san.company.com"))


def test_pools_that_take_nothing_away():
    assert pools(users=()) == []
    assert pools(dataclasses.replace(POOL, target="iqn.2026-11.com.company:other")) == []
    # It logs out at its own portal.
    assert pools(dataclasses.replace(POOL, host="10.77.2.1")) == []
    assert pools(dataclasses.replace(POOL, port="3261")) == []
