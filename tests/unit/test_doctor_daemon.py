"""What of kvmlund's status is a finding."""

import asyncio

import pytest

from kvmlun import errors
from kvmlun.doctor import checks, daemon
from kvmlun.reservation import Host

HOST = Host(0xAAAA, "iqn.2026-11.com.company:kvm1")
CLEAN = {"config_problem": "", "libvirt_problem": "", "suspended": [], "fencing_problems": []}
LUN = {
    "wwid": "naa.6", "volume": "vm1-root", "fencing": True, "phase": "holder",
    "can": "type 5, kept over a restart",
    "registrants": [{"initiator": HOST.initiator, "key": "0x0000aaaa00000001"}],
}  # fmt: skip


def found(**changes):
    return list(daemon.judge({**CLEAN, **changes}))


def reservations(**changes):
    return list(daemon.reservations([{**LUN, **changes}], HOST))


def test_a_clean_status():
    assert found() == []
    assert reservations() == []


@pytest.mark.parametrize("key", ["config_problem", "libvirt_problem"])
def test_problems_of_kvmlunds_own(key):
    (finding,) = found(**{key: "it is so"})
    assert finding.check == "kvmlund" and "it is so" in finding.cause


def test_a_vm_that_waits_for_its_lun():
    (finding,) = found(suspended=["vm1: /dev/sdb is naa.7"])
    assert finding.check == "kvmlund" and "vm1: /dev/sdb is naa.7" in finding.cause


def test_a_line_of_fencing():
    (finding,) = found(fencing_problems=["vm1 is suspended"])
    assert finding.check == "reservations" and finding.cause == "vm1 is suspended"


def test_a_target_that_can_not_fence():
    lacking = {"can": "no PREEMPT AND ABORT", "registrants": []}
    (finding,) = reservations(**lacking)
    assert "vm1-root" in finding.cause and "no PREEMPT AND ABORT" in finding.cause
    assert reservations(**lacking, fencing=False) == []
    (unknown,) = reservations(can="unknown: it does not answer", registrants=[])
    assert unknown.unknown


def test_another_host_of_this_hosts_name():
    cloned = [*LUN["registrants"], {"initiator": HOST.initiator, "key": "0x0000bbbb00000001"}]
    (finding,) = reservations(registrants=cloned)
    assert "0x0000bbbb00000001" in finding.cause and HOST.initiator in finding.cause
    # A guest may register what it likes where it is not fenced.
    assert reservations(registrants=cloned, phase="") == []
    other = {"initiator": "iqn.2026-11.com.company:kvm2", "key": "0x0000bbbb00000001"}
    assert reservations(registrants=[*LUN["registrants"], other]) == []


class Client:
    """kvmlund answers, and nobody who would be asked about reservations.

    Not seen in the lab: kvmlund gives each target 5 s (survey.py), and then says that of it.
    """

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    async def status(self, reservations):
        return {**CLEAN, "fencing_problems": ["vm1 is suspended"]}

    async def reservations(self):
        raise errors.Unreachable("kvmlund did not answer within 20 s")


def test_targets_that_were_not_asked_are_not_clean(monkeypatch):
    monkeypatch.setattr(checks, "Client", Client)
    monkeypatch.setattr(checks.keys, "host_id", lambda: 1)
    monkeypatch.setattr(checks.loginprobe, "initiator", lambda: "iqn.2026-11.com.company:kvm1")
    known, unknown = asyncio.run(checks.kvmlund())
    assert (known.cause, known.unknown) == ("vm1 is suspended", False)
    assert (unknown.check, unknown.unknown) == ("reservations", True)
    assert "20 s" in unknown.cause
