"""The line that an operator reads when a VM does not start: volume, portal, cause and remedy."""

import dataclasses

import pytest

from tests.lab import CommandFailed, peers, san, vm
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "only kvmlun has lines of its own"

NOWHERE = "10.77.1.99:3260"  # no host of the lab


def line(made: vm.Vm, host) -> str:
    """Return what the hook said about a start that must be refused, leaving nothing."""
    with pytest.raises(CommandFailed) as refused:
        made.start(host, writing=False)
    told = refused.value.err.strip().splitlines()[-1]
    _, found, text = told.partition("unexpected exit status 1: kvmlun: ")
    assert found, told
    return text


def elsewhere(volume: san.Volume, **changes) -> san.Volume:
    """The volume as a host knows it that was told something wrong."""
    return dataclasses.replace(volume, **changes)


def start(s: Stage, volume: san.Volume, **options) -> str:
    text = line(s.vm("vm1", [volume], **options), s.kvms[0])
    s.wait_clean()
    return text


def test_target_down(s: Stage) -> None:
    volume = elsewhere(s.volume("vm1"), portals=(NOWHERE,))
    assert start(s, volume) == (
        f"volume vm1-0: {volume.iqn} at {NOWHERE}: the portal does not answer; "
        "is the storage network up, and the portal?"
    )


def test_portal_refuses(s: Stage) -> None:
    volume = elsewhere(s.volume("vm1"), portals=("10.77.1.1:3999",))
    assert start(s, volume) == (
        f"volume vm1-0: {volume.iqn} at 10.77.1.1:3999: the portal refuses connections; "
        "is the target's service running there?"
    )


def test_target_unknown_there(s: Stage) -> None:
    volume = s.volume("vm1")
    wrong = elsewhere(volume, iqn=f"{volume.iqn}-old")
    assert start(s, wrong) == (
        f"volume vm1-0: {wrong.iqn} at {volume.portal}: the portal has no such target "
        "in service; is it exported there, and its name right?"
    )


def test_lun_number_missing(s: Stage) -> None:
    volume = elsewhere(s.volume("vm1"), lun=7)
    assert start(s, volume) == (
        f"volume vm1-0: {volume.iqn} at {volume.portal} shows this host no LUN 7; "
        "is it mapped to this host's initiator name?"
    )


def test_login_needs_chap(s: Stage) -> None:
    volume = s.volume("vm1")
    s.san.restrict(volume, "authentication", 1)
    assert start(s, volume) == (
        f"volume vm1-0: {volume.iqn} at {volume.portal}: "
        "the target wants CHAP, and this host has no (or a wrong) secret for it"
    )


def test_access_denied_by_the_target(s: Stage) -> None:
    volume = s.volume("vm1")
    s.san.restrict(volume, "generate_node_acls", 0)
    assert start(s, volume) == (
        f"volume vm1-0: {volume.iqn} at {volume.portal}: the target denies this host access; "
        f"allow its initiator name {s.kvms[0].initiator} there"
    )


def test_wrong_wwid(s: Stage) -> None:
    volume = s.volume("vm1")
    made = s.vm("vm1", [volume], by_path=True)
    other = s.san.swap(volume)
    assert line(made, s.kvms[0]) == (
        f"volume vm1-0: {volume.iqn} LUN 0 is not {volume.wwid} but {other.wwid}; "
        "the LUN was exchanged on the array, or the pinned WWID is wrong "
        "(kvmlun volume repin corrects that)"
    )
    s.wait_clean()


def test_link_missing(s: Stage) -> None:
    """The right disk is there, but not under the name that the domain uses."""
    volume = s.volume("vm1")
    link = f"/dev/disk/by-id/dm-uuid-mpath-3{volume.wwid.removeprefix('naa.')}"
    assert start(s, volume, links=[link]) == (
        f"volume vm1-0: /dev/sda is the right disk, but udev made no link {link}; "
        "use one of those that udevadm info /dev/sda shows"
    )


def test_unknown_volume(s: Stage) -> None:
    """A by-id link that nobody knows is not kvmlun's: libvirt says so itself."""
    host = s.kvms[0]
    link = "/dev/disk/by-id/wwn-0x60014050000000000000000000000001"
    made = s.vm("vm1", [s.volume("vm1")], links=[link], known_on=[])
    with pytest.raises(CommandFailed) as refused:
        made.start(host, writing=False)
    assert refused.value.err.strip().endswith(
        f"Cannot access storage file '{link}': No such file or directory"
    )
    told = host.run("kvmlun connect nope", check=False)
    assert (told.rc, told.err) == (4, "kvmlun: there is no volume 'nope' in /etc/kvmlun\n")


def test_bad_yaml(s: Stage) -> None:
    host = s.kvms[0]
    made = s.vm("vm1", [s.volume("vm1")])
    host.put(b"volumes:\n  x: {wwid: naa.1}\n", "/etc/kvmlun/volumes.d/z.yaml")
    host.run("systemctl restart kvmlund")
    assert line(made, host) == ("/etc/kvmlun/volumes.d/z.yaml:2: volumes.x: portals is missing")


def test_kvmlund_not_startable(s: Stage) -> None:
    host = s.kvms[0]
    made = s.vm("vm1", [s.volume("vm1")])
    host.run("systemctl mask --now --runtime kvmlund.socket kvmlund")
    try:
        told = line(made, host)
    finally:
        host.run("systemctl unmask --runtime kvmlund.socket kvmlund")
    assert told == (
        "kvmlund does not answer (Connection refused); "
        "start it with: systemctl start kvmlund.socket kvmlund"
    )


def test_deadline_passed(s: Stage) -> None:
    """A portal that swallows what it is sent, and less time than one login may take."""
    host, volume = s.kvms[0], s.volume("vm1")
    made = s.vm("vm1", [volume])
    assert isinstance(s.peer, peers.Kvmlun)
    s.peer.configure(host, prepare=5, login=4, login_attempts=1)
    with host.cut("san_a"):
        told = line(made, host)
    assert told == f"volume vm1-0: login to {volume.iqn} at {volume.portal} took too long"
    s.wait_clean()


def test_break_glass_is_loud(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    made = s.vm("vm1", [volume])
    name = f"-T {volume.iqn} -p {volume.portal}"
    host.run(f"iscsiadm -m node {name} -o new && iscsiadm -m node {name} --login; udevadm settle")
    host.run("systemctl mask --now --runtime kvmlund.socket kvmlund")
    try:
        line(made, host)
        host.run(f"mkdir -p /run/kvmlun/bypass && touch /run/kvmlun/bypass/{made.uuid}")
        made.start(host, writing=False)
    finally:
        host.run("systemctl unmask --runtime kvmlund.socket kvmlund")
        host.run("systemctl start kvmlund.socket kvmlund")
    alert = host.run("journalctl -p alert -t kvmlun-hook -o cat").out
    assert f"domain 'vm1' starts WITHOUT kvmlun's checks: /run/kvmlun/bypass/{made.uuid}" in alert
    made.destroy(host)
    host.run(f"iscsiadm -m node {name} --logout; iscsiadm -m node {name} -o delete")
    host.run("rm -r /run/kvmlun/bypass")
    s.wait_clean()
