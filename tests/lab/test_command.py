"""The kvmlun command on a real host: what it prints and with which exit code it ends."""

import json

import pytest

from tests.lab import machine, observe, wait_for
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "only kvmlun has a command"


def test_status_shows_a_running_vms_lun(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    vm = s.vm("vm1", [volume])
    vm.start(host, writing=False)

    def lun():
        luns = observe.status(host)["luns"]
        return next((one for one in luns if one["state"] == "in-use"), None)

    shown = wait_for("vm1's LUN in use", lun, 20)
    assert shown["wwid"] == volume.wwid and shown["volume"] == "vm1-0"
    assert shown["domains"] == ["vm1"] and shown["link"] == volume.by_id
    assert shown["target"] == volume.iqn and shown["size"] == volume.size
    table = host.run("kvmlun status").out
    for text in (volume.wwid, "vm1-0", shown["device"], "LOGGED_IN", "in-use"):
        assert text in table
    vm.destroy(host)
    s.wait_clean()
    (idle,) = observe.status(host)["luns"]
    assert idle["state"] == "absent" and idle["sessions"] == []


def test_a_printed_disk_starts_a_vm(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    vm = s.vm("vm1", [volume])
    printed = host.run("kvmlun disk-xml vm1-0 --target vda").out
    assert volume.by_id in printed
    head, _, rest = vm.xml().partition("<disk ")
    xml = head + printed + rest.partition("</disk>")[2]
    host.run(["virsh", "define", "/dev/stdin"], input=xml)
    vm.start(host)
    vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)


def test_volumes_and_exit_codes(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    s.vm("vm1", [volume])
    assert volume.wwid in host.run("kvmlun volume list").out
    assert json.loads(host.run("kvmlun volume show vm1-0 --json").out)["target"] == volume.iqn
    assert offered(host, "kvmlun takeover v") == "vm1"
    assert offered(host, "kvmlun disk-xml v") == "vm1-0"
    assert host.run("kvmlun volume show nope", check=False).rc == 4
    assert host.run("kvmlun disk-xml vm1-0 --target x", check=False).rc == 2
    assert host.run("kvmlun bogus", check=False).rc == 2
    host.run("systemctl mask --now --runtime kvmlund.socket kvmlund")
    try:
        down = host.run("kvmlun status", check=False)
    finally:
        host.run(
            "systemctl unmask --runtime kvmlund.socket kvmlund; "
            "systemctl start kvmlund.socket kvmlund"
        )
    assert down.rc == 3 and len(down.err.splitlines()) == 1


def test_a_bad_file_keeps_the_old_configuration(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    s.vm("vm1", [volume])
    host.put(b"volumes:\n  x: {wwid: naa.1}\n", "/etc/kvmlun/volumes.d/z.yaml")
    told = host.run("systemctl reload kvmlund", check=False)
    assert told.rc != 0
    assert "z.yaml:2" in host.run("kvmlun status").out
    assert volume.wwid in host.run("kvmlun volume list").out
    assert "x" not in json.loads(host.run("kvmlun volume list --json").out)


def offered(host: machine.Machine, line: str) -> str:
    """Return what bash would put there for Tab."""
    script = (
        ". /usr/share/bash-completion/completions/kvmlun; COMP_LINE=$1 COMP_POINT=${#1}; "
        'COMP_WORDBREAKS=" "; _kvmlun; echo ${COMPREPLY[*]}'
    )
    return host.run(["bash", "--norc", "-c", script, "bash", line]).out.strip()
