"""VMs that are none of kvmlun's business start, however broken it is."""

import pytest

from tests.lab import guest, machine, wait_for
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host

BREAK = {
    "running": "true",
    "stopped": "systemctl stop kvmlund.socket kvmlund",
    "masked": "systemctl stop kvmlund.socket kvmlund; systemctl mask kvmlund.socket kvmlund",
    "broken": "chmod -x /usr/sbin/kvmlund; systemctl kill -s KILL kvmlund",
}
MEND = """
chmod +x /usr/sbin/kvmlund
systemctl unmask kvmlund.socket kvmlund
systemctl reset-failed kvmlund.service kvmlund.socket
systemctl restart kvmlund.socket kvmlund
"""


@pytest.fixture(params=BREAK)
def host(s: Stage, request: pytest.FixtureRequest):
    if s.peer.name != "kvmlun":
        pytest.skip("there is no daemon to break")
    s.kvms[0].run(BREAK[request.param])
    yield s.kvms[0]
    s.kvms[0].run(MEND)


def starts(host: machine.Machine, disks: list[guest.Disk]) -> None:
    xml = guest.domain_xml("plain", "3c1b0f5e-0000-4000-8000-000000000009", disks)
    host.run(["virsh", "create", "--paused", "/dev/stdin"], input=xml)
    host.run(["virsh", "destroy", "plain"])


def test_without_any_disk(host: machine.Machine) -> None:
    starts(host, [])


def test_with_a_local_disk_by_id(host: machine.Machine) -> None:
    host.run("modprobe scsi_debug dev_size_mb=16")
    try:
        links = "ls -d /dev/disk/by-id/wwn-* 2>/dev/null || true"
        (link,) = wait_for("the local disk's link", lambda: host.run(links).out.split(), 30)
        starts(host, [guest.Disk(link)])
    finally:
        # udev may still look at the disk that QEMU has just closed.
        gone = ["modprobe", "-r", "scsi_debug"]
        wait_for("the local disk to go", lambda: host.run(gone, check=False).rc == 0, 30)


def test_one_of_ours_is_refused_with_one_line(s: Stage) -> None:
    if s.peer.name != "kvmlun":
        pytest.skip("there is no daemon to break")
    host, volume = s.kvms[0], s.volume("vm1")
    vm = s.vm("vm1", [volume])
    host.run(BREAK["masked"])
    try:
        told = host.run(["virsh", "start", "vm1"], check=False)
    finally:
        host.run(MEND)
    assert told.rc != 0
    assert "systemctl start kvmlund" in told.err
    assert "Traceback" not in told.err
    vm.start(host)
    vm.destroy(host)
    s.wait_clean()
