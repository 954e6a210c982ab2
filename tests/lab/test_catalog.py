"""The catalog in /etc/kvmlun: found out, edited, checked, and right when the array changes."""

import pytest

from tests.lab import CommandFailed, observe, san, wait_for
from tests.lab.machine import Machine
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "only kvmlun has a catalog"


@pytest.fixture
def host(s: Stage) -> Machine:
    return s.kvms[0]


def initiator_state(host: Machine) -> str:
    """What open-iscsi knows and has, node records and discovery records with their content."""
    files = "find /etc/iscsi /var/lib/iscsi -type f -exec sha256sum {} + 2>/dev/null | sort"
    return host.run(f"{files}; iscsiadm -m session -P 1; iscsiadm -m discoverydb", check=False).out


def told(host: Machine, *command: str) -> tuple[int, list[str]]:
    done = host.run(["kvmlun", *command], check=False)
    return done.rc, done.err.splitlines()


def test_discover_prints_what_can_be_pasted_and_touches_nothing(s: Stage, host: Machine) -> None:
    """A VM runs meanwhile on a LUN of one of the targets."""
    known, other = s.volume("vm1"), s.volume("vm2", lun=300, portals=s.san.portals())
    more = s.volume("vm2", lun=1, portals=s.san.portals())
    vm = s.vm("vm1", [known])
    vm.start(host)
    before, sessions = initiator_state(host), s.san.sessions(known.iqn)
    text = host.run(["kvmlun", "volume", "discover", known.portal]).out
    assert initiator_state(host) == before and s.san.sessions(known.iqn) == sessions
    vm.wait_writes(host)
    assert f"# {known.iqn} LUN 0 is volume vm1-0" in text and known.wwid not in text
    host.put(text.encode(), "/etc/kvmlun/volumes.d/found.yaml")
    host.run("kvmlun check && systemctl reload kvmlund")
    volumes = {v["wwid"]: v for v in observe.volumes(host)}
    for volume in (other, more):
        found = volumes[volume.wwid]
        assert (found["target"], found["lun"]) == (volume.iqn, volume.lun)
        assert sorted(found["portals"]) == sorted(volume.portals)
    link = host.run(["kvmlun", "connect", volumes[other.wwid]["name"]]).out.strip()
    assert link == other.by_id


def test_add_and_remove(s: Stage, host: Machine) -> None:
    volume = s.volume("vm1")
    vm = s.vm("vm1", [volume], known_on=[])
    add = ["kvmlun", "volume", "add", "root", "--wwid", volume.wwid, "--target", volume.iqn]
    host.run([*add, "--portal", volume.portal])
    assert told(host, *add[1:], "--portal", volume.portal)[0] == 5
    vm.start(host)
    wait_for("its VM", lambda: observe.users(host, volume.wwid) == ["vm1"], 20)
    assert told(host, "volume", "remove", "root") == (
        5, ["kvmlun: volume root is in use by vm1"],
    )  # fmt: skip
    vm.destroy(host)
    s.wait_clean()
    host.run("kvmlun volume remove root")
    assert host.run("ls /etc/kvmlun/volumes.d").out == ""
    assert told(host, "volume", "remove", "root")[0] == 4


def test_check_tells_every_mistake(s: Stage, host: Machine) -> None:
    assert told(host, "check") == (0, [])
    host.put(b"settings: {grace: soon}\n", "/etc/kvmlun/kvmlun.yaml")
    host.put(b"volumes:\n  a: {wwid: naa.1}\n  b: [\n", "/etc/kvmlun/volumes.d/z.yaml")
    host.put(b"volumes:\n  a: {lun: x}\n", "/etc/kvmlun/volumes.d/y.yaml")
    code, lines = told(host, "check")
    assert (code, [line.partition(": ")[2] for line in lines]) == (
        6,
        [
            "/etc/kvmlun/kvmlun.yaml:1: settings.grace: must be a number of seconds, at most "
            "a year",
            "/etc/kvmlun/volumes.d/y.yaml:2: volumes.a.lun: must be a logical unit number "
            "(0 to 16383)",
            "/etc/kvmlun/volumes.d/y.yaml:2: volumes.a: portals is missing",
            "/etc/kvmlun/volumes.d/y.yaml:2: volumes.a: target is missing",
            "/etc/kvmlun/volumes.d/y.yaml:2: volumes.a: wwid is missing",
            "/etc/kvmlun/volumes.d/z.yaml:4: expected the node content, but found '<stream end>'",
        ],
    )


def test_check_tells_what_is_not_there(s: Stage, host: Machine) -> None:
    """A secret that others can read, an interface that open-iscsi has not, a file nobody reads."""
    s.peer.know(host, "vm1", [s.volume("vm1")], secret="loose", ifaces=["c0"])
    host.put(b"username = a\npassword = b\n", "/etc/kvmlun/secrets/loose", mode=0o644)
    host.put(b"", "/etc/kvmlun/volumes.d/a.yml")
    code, lines = told(host, "check")
    assert code == 6 and len(lines) == 3
    text = "\n".join(lines)
    assert "/etc/kvmlun/volumes.d/a.yml: is not read; name it a.yaml" in text
    assert "/etc/kvmlun/secrets/loose: mode 0644 lets others at it" in text
    assert ": volumes.vm1-0.ifaces[0]: open-iscsi has no iface c0 " in text
    assert told(host, "check", "/etc/kvmlun/kvmlun.yaml")[0] == 6


def renumbered(s: Stage, volume: san.Volume) -> san.Volume:
    """The array gives the same disk another target and number; the old place has another disk."""
    s.san.swap(volume)
    return s.san.create(f"{volume.iqn}.new", 5, volume.size, serial=volume.serial, path=volume.path)


def test_a_renumbered_array(s: Stage, host: Machine) -> None:
    """The WWID is the identity: the domain's metadata and the old sessions may say what they do."""
    volume = s.volume("vm1")
    vm = s.vm("vm1", [volume])
    vm.start(host)
    vm.shutdown(host)
    s.wait_clean()
    moved = renumbered(s, volume)
    with pytest.raises(CommandFailed) as refused:
        vm.start(host)
    assert "is not" in refused.value.err and volume.wwid in refused.value.err
    told = f"# {moved.iqn} LUN 5 is volume vm1-0, which the catalog has at {volume.iqn} LUN 0: "
    assert told in host.run(["kvmlun", "volume", "discover", volume.portal]).out
    s.peer.know(host, "vm1", [moved])
    vm.start(host)
    assert s.states()[0].targets == [moved.iqn]
    vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)


@pytest.mark.campaign
def test_a_reload_with_another_address_drops_nothing(s: Stage, host: Machine) -> None:
    volume = s.volume("vm1")
    vm = s.vm("vm1", [volume])
    vm.start(host)
    before = s.states()[0].sessions
    host.run(f"sed -i s/{volume.iqn}/{volume.iqn}.new/ /etc/kvmlun/volumes.d/vm1.yaml")
    host.run("systemctl reload kvmlund")
    s.another_comes_and_goes()
    assert s.states()[0].sessions == before
    vm.wait_writes(host)
    vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)
