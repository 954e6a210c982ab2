"""Which stops of open-iscsi.service are safe, in the form in which systemctl 252 shows them."""

import pytest

from kvmlun.doctor import stopping

UMOUNT, SYNC = "/lib/open-iscsi/umountiscsi.sh", "/bin/sync"
KEEP, LOGOUT = "/usr/libexec/kvmlun/keep-sessions", "/lib/open-iscsi/logout-all.sh"


def show(*argvs, load="loaded"):
    lines = [
        f"ExecStop={{ path={argv.split()[0]} ; argv[]={argv} ; ignore_errors=no ; "
        "start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }"
        for argv in argvs
    ]
    return "\n".join([*lines, f"LoadState={load}", ""])


@pytest.mark.parametrize(
    "argvs", [(UMOUNT, SYNC, KEEP, LOGOUT), (KEEP, UMOUNT, LOGOUT), (UMOUNT, SYNC), ()]
)
def test_a_stop_that_spares_guests(argvs):
    assert stopping.judge(show(*argvs)) is None


@pytest.mark.parametrize(
    "argvs, which",
    [
        ((UMOUNT, SYNC, LOGOUT), LOGOUT),
        ((LOGOUT, KEEP), LOGOUT),
        (
            ("/sbin/iscsiadm -m node --logoutall=automatic", KEEP),
            "/sbin/iscsiadm -m node --logoutall=automatic",
        ),
        (("/sbin/iscsiadm -m node -U all",), "/sbin/iscsiadm -m node -U all"),
    ],
)
def test_a_stop_that_does_not(argvs, which):
    finding = stopping.judge(show(*argvs))
    assert which in finding.cause and finding.check == "open-iscsi"


def test_a_unit_that_is_not_there_stops_nothing():
    assert stopping.judge(show(LOGOUT, load="masked")) is None
    assert stopping.judge(show(load="not-found")) is None
