"""kvmlun doctor where another host matters: --host, and who else is on a fenced LUN."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import pytest

from tests.lab import breaks, doctor, intruder, reservations, san, wait_for
from tests.lab.breaks import Break
from tests.lab.machine import Machine
from tests.lab.stage import Stage
from tests.lab.vm import Vm

ONLY_KVMLUN = "only kvmlun has a doctor"

_PYTHON = "/usr/lib/python3/dist-packages/kvmlun"
_INIT, _DOMXML = f"{_PYTHON}/__init__.py", f"{_PYTHON}/domxml.py"
_OLD = f"cp -p {_INIT} {breaks.FOLDER}; echo '__version__ = \"0.0.1\"' >>{_INIT}"
_NEW = f"mv {breaks.FOLDER}/__init__.py {_INIT}"
_ID = "/etc/machine-id"
_KVMLUN = "/usr/bin/kvmlun"
_BAD = "/etc/kvmlun/volumes.d/bad.yaml"
_DOWN = breaks.BREAKS["kvmlund down"]
SECONDS = 60
KEY = "0xabcdef0100000001"
CHAP = b"username = u\npassword = secret-of-chap\n"


def _moved(seconds: int) -> str:
    # The kernel takes a clock that was set for one that nobody keeps (settimeofday's ntp_clear()).
    return f"date -s '{seconds} seconds' && lab-clock 0"


# On the second host.
_BREAKS = {
    "same initiator name": Break(
        "initiator", "both hosts have the initiator name",
        f"cp -p {breaks.NAME} {breaks.FOLDER}; echo InitiatorName={{initiator}} >{breaks.NAME}; "
        "systemctl restart iscsid",
        f"mv {breaks.FOLDER}/initiatorname.iscsi {breaks.NAME}; systemctl restart iscsid",
    ),
    "same machine-id": Break(
        "host-id", "machine-id",
        f"cp -p {_ID} {breaks.FOLDER}; echo {{machine_id}} >{_ID}",
        f"cat {breaks.FOLDER}/machine-id >{_ID}",
    ),
    "clock behind": Break("clock", "behind", _moved(-100), _moved(100)),
    "clock ahead": Break("clock", "ahead", _moved(100), _moved(-100)),
    "another version": Break("version", "and 0.0.1 on", _OLD, _NEW),
    "metadata that can't be read": Break(
        "version", "one can't read what the other writes",
        f"{_OLD}; cp -p {_DOMXML} {breaks.FOLDER}; echo 'VERSION = 0' >>{_DOMXML}",
        f"{_NEW}; mv {breaks.FOLDER}/domxml.py {_DOMXML}",
    ),
    "no kvmlun": Break(
        "version", "is not installed",
        f"mv {_KVMLUN} {breaks.FOLDER}", f"mv {breaks.FOLDER}/kvmlun {_KVMLUN}",
    ),
    "a kvmlun without --facts": Break(
        "version", "is too old there", *breaks.instead(_KVMLUN, "exit 2")
    ),
    "a file that is wrong": Break(
        "catalog", "kvm2: /etc/kvmlun/volumes.d/bad.yaml", f"echo nonsense: 1 >{_BAD}", f"rm {_BAD}"
    ),
}  # fmt: skip
# What keeps it from being compared with.
_UNKNOWN = {
    "kvmlund down": Break("host", "kvmlund does not answer", _DOWN.do, _DOWN.undo),
    "no facts": Break("host", "gave no facts", *breaks.instead(_KVMLUN, "echo motd")),
    "facts in another form": Break(
        "host", "too new, or too old",
        *breaks.instead(_KVMLUN, 'echo {\\\\"format\\\\": 2}'),
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Hosts:
    """Two hosts; the first one uses a LUN that the second one learns of by migration only."""

    stage: Stage
    here: Machine
    there: Machine
    used: san.Volume

    def check_only(self, check: str, told: str, code: int = 7) -> None:
        doctor.check_only(self.here, check, told, "--host", self.there.name, code=code)

    @contextlib.contextmanager
    def broken(self, what: Break) -> Iterator[None]:
        names = {
            "initiator": self.here.initiator,
            "machine_id": self.here.run(["cat", _ID]).out.strip(),
        }
        with doctor.broken(self.there, what, **names):
            yield


@pytest.fixture
def hosts(s: Stage) -> Hosts:
    here, there = s.kvms[:2]
    used = s.volume("data")
    s.know(here, "data", [used])
    here.run("kvmlun connect data-0")
    return Hosts(s, here, there, used)


# What the two are told of LUNs


def another_lun_of_that_name(h: Hosts) -> None:
    h.stage.know(h.here, "same", [h.stage.volume("same")])
    h.stage.know(h.there, "same", [h.stage.volume("other")])


def a_secret_that_is_not_named_there(h: Hosts) -> None:
    h.here.put(CHAP, "/etc/kvmlun/secrets/san", 0o600)
    h.stage.peer.know(h.here, "chap", [h.stage.volume("chap")], secret="san")


def a_secret_that_is_not_there(h: Hosts) -> None:
    volume = h.stage.volume("gone")
    h.here.put(CHAP, "/etc/kvmlun/secrets/gone", 0o600)
    for host in (h.here, h.there):
        h.stage.peer.know(host, "gone", [volume], secret="gone")


def fenced_here(h: Hosts) -> None:
    volume = h.stage.volume("fenced")
    h.stage.peer.know(h.here, "fenced", [volume], fencing=True)
    h.stage.peer.know(h.there, "fenced", [volume])


def fenced_there(h: Hosts) -> None:
    volume = h.stage.volume("free")
    h.stage.peer.know(h.here, "free", [volume])
    h.stage.peer.know(h.there, "free", [volume], fencing=True)


def pinned_as_another(h: Hosts) -> None:
    """The used LUN was renumbered, and the second host still has the one before."""
    before = dataclasses.replace(h.used, wwid=h.stage.volume("before").wwid)
    h.stage.know(h.there, "before", [before])


def portals_that_are_not_let_in(h: Hosts) -> None:
    h.stage.peer.configure(h.there, portals=[])


def a_file_here(h: Hosts) -> None:
    h.here.put(b"nonsense: 1\n", _BAD)


Give = Callable[[Hosts], None]
_LUNS: dict[Give, tuple[str, str]] = {
    another_lun_of_that_name: ("catalog", "volume same-0 is"),
    a_secret_that_is_not_named_there: ("secrets", "(chap-0) needs CHAP, and kvm2 has no"),
    a_secret_that_is_not_there: ("secrets", "(gone-0) needs CHAP, and kvm2 has no"),
    fenced_here: ("fencing", "fenced-0 is fenced on kvm1 and not on kvm2"),
    fenced_there: ("fencing", "free-0 is fenced on kvm2 and not on kvm1"),
    pinned_as_another: ("catalog", "(volume before-0) on kvm2"),
    a_file_here: ("catalog", "kvm1: /etc/kvmlun/volumes.d/bad.yaml"),
    portals_that_are_not_let_in: ("portals", "is no portal that kvm2 may log in to"),
}
_TOGETHER = (
    "same initiator name", "same machine-id", "clock behind", "metadata that can't be read",
    "a file that is wrong",
)  # fmt: skip
# What hides another one, and what takes time to give.
_APART = (a_secret_that_is_not_there, a_file_here, fenced_there, portals_that_are_not_let_in)


def test_two_hosts(hosts: Hosts) -> None:
    told = hosts.here.run(["kvmlun", "doctor", "--host", hosts.there.name]).out
    assert told == "nothing found\n"
    wanted = []
    with contextlib.ExitStack() as broken:
        for give in _LUNS.keys() - set(_APART):
            give(hosts)
            wanted.append(_LUNS[give])
        for each in map(_BREAKS.__getitem__, _TOGETHER):
            broken.enter_context(hosts.broken(each))
            wanted.append((each.check, each.told))
        doctor.check_all(hosts.here, wanted, "--host", hosts.there.name)
    assert "secret-of-chap" not in hosts.here.run("kvmlun doctor --facts").out


@pytest.mark.campaign
@pytest.mark.parametrize("name", _BREAKS)
def test_one_difference(hosts: Hosts, name: str) -> None:
    with hosts.broken(_BREAKS[name]):
        hosts.check_only(_BREAKS[name].check, _BREAKS[name].told)


@pytest.mark.campaign
@pytest.mark.parametrize("give", _LUNS, ids=lambda give: give.__name__)
def test_one_difference_about_a_lun(hosts: Hosts, give: Give) -> None:
    give(hosts)
    hosts.check_only(*_LUNS[give])


@pytest.mark.campaign
@pytest.mark.parametrize("name", _UNKNOWN)
def test_a_host_that_can_not_tell(hosts: Hosts, name: str) -> None:
    with hosts.broken(_UNKNOWN[name]):
        hosts.check_only(_UNKNOWN[name].check, _UNKNOWN[name].told, code=8)


@pytest.mark.campaign
def test_a_host_that_is_not_there(hosts: Hosts) -> None:
    doctor.check_only(hosts.here, "host", "ssh kvm9", "--host", "kvm9", code=8)


@pytest.mark.campaign
def test_a_host_that_can_not_ask(hosts: Hosts) -> None:
    with doctor.broken(hosts.here, _DOWN):
        hosts.check_only("host", _DOWN.told, code=8)


# Who else is on a fenced LUN


@pytest.fixture
def vm(s: Stage, clean: None) -> Vm:
    """It runs on the first host, which is well, and may be started on the second."""
    made = s.fenced().vm("vm1", [s.volume("vm1")])
    s.fenced().define_also(made, s.kvms[1])
    made.start(s.kvms[0], writing=False)
    reservations.wait_holder(s.san, made.volumes[0], s.kvms[0])
    assert doctor.found(s.kvms[0], code=0) == []
    return made


@pytest.mark.campaign
def test_a_vm_that_was_taken_over(s: Stage, vm: Vm) -> None:
    here, there = s.kvms[:2]
    there.run("kvmlun takeover vm1 --yes")
    wait_for("the VM to be suspended", lambda: vm.state(here) == "paused", SECONDS)
    doctor.check_only(here, "reservations", "vm1 is suspended: ")
    vm.destroy(here)
    s.wait_clean(here)
    assert doctor.found(here, code=0) == []


@pytest.mark.campaign
def test_another_host_of_this_name(s: Stage, vm: Vm) -> None:
    """It has registered with the LUN; that it has another session identifier is luck."""
    hosts = Hosts(s, *s.kvms[:2], vm.volumes[0])
    with contextlib.ExitStack() as there:
        there.enter_context(hosts.broken(_BREAKS["same initiator name"]))
        there.enter_context(intruder.logged_in(hosts.there, s.volume("first")))
        clone = there.enter_context(intruder.logged_in(hosts.there, hosts.used))
        assert clone.persist(f"--out --register --param-sark={KEY}").rc == 0
        told = f"under this host's initiator name {hosts.here.initiator} (key {KEY})"
        doctor.check_only(hosts.here, "reservations", told)
        assert clone.persist(f"--out --register --param-rk={KEY} --param-sark=0").rc == 0
    assert doctor.found(hosts.here, code=0) == []
    vm.destroy(hosts.here)
    s.wait_clean()
