"""Which differences between two hosts matter to VMs that migrate, and the form of their facts."""

import dataclasses
import json

import pytest

from kvmlun import errors
from kvmlun.doctor import comparison, facts
from kvmlun.doctor.facts import Facts, Used, Volume

NOW = 1_800_000_000.0
VOLUME = Volume("vm1", "naa.61", "iqn.2026-11.com.company:vm1", 0, ("10.0.0.1:3260",), "", False)
USED = Used("naa.62", "iqn.2026-11.com.company:vm2", 1, ("10.0.0.1:3260",), ("vm2",))
HERE = Facts(
    name="kvm1", version="0.1.0", metadata=1, initiator="iqn.2026-11.com.company:kvm1",
    host_id="0x00000001", problems=(), portals=None, volumes=(VOLUME,), used=(USED,), secrets=(),
    time=NOW,
)  # fmt: skip
THERE = dataclasses.replace(
    HERE, name="kvm2", initiator="iqn.2026-11.com.company:kvm2", host_id="0x00000002", used=(),
    volumes=(),
)  # fmt: skip


def compare(here=HERE, there=THERE, asked=NOW - 2, had=NOW + 2):
    return list(comparison.compare(here, there, asked, had))


def replace(value, **changes):
    return dataclasses.replace(value, **changes)


def volumes(*given, **changes):
    """The other host with these volumes."""
    return replace(THERE, volumes=given, **changes)


def test_two_hosts_between_which_vms_can_migrate():
    assert compare() == []
    # Where it is, and its name, may differ from host to host.
    other = replace(VOLUME, name="root", lun=3, portals=("10.0.1.1:3260",))
    assert compare(there=volumes(other)) == []


@pytest.mark.parametrize(
    "there, check, told",
    [
        (replace(THERE, initiator=HERE.initiator), "initiator", HERE.initiator),
        (replace(THERE, host_id=HERE.host_id), "host-id", "machine-id"),
        (replace(THERE, time=NOW - 10), "clock", "kvm2 is at least 8.0 s behind"),
        (replace(THERE, time=NOW + 10), "clock", "kvm2 is at least 8.0 s ahead of"),
        (replace(THERE, version="0.2.0"), "version", "0.1.0 here and 0.2.0 on kvm2"),
        (replace(THERE, metadata=2), "version", "can't read"),
        (replace(THERE, problems=("a.yaml:1: bad",)), "catalog", "kvm2: a.yaml:1: bad"),
        (volumes(replace(VOLUME, wwid="naa.69")), "catalog", "naa.61 on kvm1 and naa.69 on kvm2"),
        (volumes(replace(VOLUME, fencing=True)), "fencing", "fenced on kvm2 and not on kvm1"),
        (
            volumes(replace(VOLUME, name="x", wwid="naa.69", target=USED.target, lun=1)),
            "catalog",
            "of vm2 is naa.62 on kvm1, and pinned as naa.69 (volume x) on kvm2",
        ),
        (replace(THERE, portals=("10.9.0.0/16",)), "portals", "10.0.0.1:3260 of vm2"),
        (replace(THERE, portals=()), "portals", "kvm2"),
    ],
)
def test_each_difference_is_found(there, check, told):
    (finding,) = compare(there=there)
    assert finding.check == check and told in finding.cause and finding.remedy


def test_a_clock_is_not_wrong_by_what_the_answer_took():
    assert compare(there=replace(THERE, time=NOW + 2.9)) == []
    assert compare(there=replace(THERE, time=NOW - 2.9)) == []


@pytest.mark.parametrize(
    "portals, volume",
    [(("10.0.0.0/24",), []), ((), [replace(VOLUME, wwid="naa.63")]), ((), [])],
)
def test_portals_that_the_other_host_may_use(portals, volume):
    found = compare(here=replace(HERE, volumes=()), there=volumes(*volume, portals=portals))
    assert bool(found) == (not portals and not volume)


def test_a_lun_in_the_other_hosts_catalog_is_used_by_what_that_says():
    theirs = Volume("x", USED.wwid, USED.target, USED.lun, ("10.0.1.1:3260",), "", False)
    assert compare(replace(HERE, volumes=()), volumes(theirs, portals=())) == []


SECRET = replace(VOLUME, secret="san")


@pytest.mark.parametrize(
    "theirs, secrets, told",
    [
        ([], (), "add volume vm1 with secret san"),
        ([VOLUME], ("san",), "add volume vm1 with secret san"),
        ([SECRET], (), "write /etc/kvmlun/secrets/san"),
        ([replace(SECRET, secret="other")], ("san",), "write /etc/kvmlun/secrets/other"),
    ],
)
def test_a_secret_that_the_other_host_lacks(theirs, secrets, told):
    here = replace(HERE, volumes=(SECRET,), secrets=("san", "other"))
    (finding,) = compare(here, volumes(*theirs, secrets=secrets))
    assert finding.check == "secrets" and told in finding.remedy
    assert compare(here, volumes(SECRET, secrets=("san",))) == []


def test_facts_survive_their_form():
    for each in (HERE, THERE, replace(HERE, portals=("10.0.0.0/8",), secrets=("san",))):
        assert facts.parse(facts.as_json(each)) == each


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2}, {"name": 1}, {"volumes": None}, {"volumes": [{}]}, {"secrets": [1]},
        {"used": [1]}, {"portals": 3}, {"time": "now"},
    ],
)  # fmt: skip
def test_what_is_no_facts(change):
    value = {**json.loads(facts.as_json(HERE)), **change}
    with pytest.raises(errors.Invalid):
        facts.parse(json.dumps(value))
    for text in ("", "[]", "motd", '{"format": 1}'):
        with pytest.raises(errors.Invalid):
            facts.parse(text)
