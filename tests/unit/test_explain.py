"""What a start would do, said beforehand: for each thing that may be there, or not."""

import dataclasses

import pytest

from kvmlun import explain, loginprobe
from kvmlun.domxml import Disk, Domain
from kvmlun.explain import DO, NOTE, OK, REFUSED, Known, World
from kvmlun.lun import Portal
from kvmlun.reservation import Registration, Reservation
from kvmlun.status import ReservationStatus

from . import worlds
from .worlds import BY_PATH, LUN, OTHER_WWID, PORTAL, TARGET, UUID, WWID

VOLUME = dataclasses.replace(LUN, volume="vm1-0")
FENCED = dataclasses.replace(VOLUME, fencing=True)
SECOND = Portal("10.77.2.1")
FACTS = {"wwids": [str(WWID)], "size": 64 << 20, "read_only": False, "claimed": False}


def world(*sessions, owned=(1,), **found):
    return World(tuple(sessions), frozenset(owned), 10.0, **found)


def told(seen, lun=VOLUME, link=WWID.link, running=False, luns=(), mapped=False, **disk):
    """Explain a domain with one disk; return (verdict, text) without what is always said."""
    values = {"read_only": False, "shareable": False, "cache": "none", **disk}
    made = Disk("vda", (link,), **values)
    domain = Domain(UUID, "vm1", (made,), tuple(luns), False)
    lines = explain.lines(domain, [Known(made, link, lun, mapped=mapped)], seen, running)
    assert {line.disk for line in lines} == {"vda"}
    return [(line.verdict, line.text) for line in lines]


def verdicts(lines):
    return [verdict for verdict, _ in lines]


def has(lines, verdict, *parts):
    return any(v == verdict and all(part in text for part in parts) for v, text in lines)


def test_a_lun_that_is_not_here_is_brought_step_by_step():
    lines = told(world())
    assert verdicts(lines) == [OK, DO, DO, DO, NOTE]
    (_, origin), (_, login), (_, scan), (_, proof), (_, unfenced) = lines
    assert "volume vm1-0 in /etc/kvmlun" in origin and str(WWID) in origin
    assert login == f"log in to {TARGET} at 10.77.1.1:3260"
    assert "scan for LUN 0" in scan and f"it must be {WWID}, at least 64 MiB" in proof
    assert "not fenced" in unfenced


@pytest.mark.parametrize(
    ("lun", "link", "luns", "source"),
    [
        (VOLUME, WWID.link, [LUN], "volume vm1-0"),
        (LUN, WWID.link, [LUN], "the VM's own metadata"),
        (dataclasses.replace(LUN, wwid=None), BY_PATH, [], "the link itself"),
        (LUN, WWID.link, [], "a session that is here"),
    ],
)
def test_who_says_what_a_link_means(lun, link, luns, source):
    assert source in told(world(), lun, link, luns=luns)[0][1]


def test_what_is_here_is_asked_who_it_is():
    here = worlds.session(1, worlds.disk())
    lines = told(world(here, facts={"sda": FACTS}))
    assert verdicts(lines) == [OK, OK, OK, NOTE]
    assert "session 1 to 10.77.1.1:3260 is logged in" in lines[1][1]
    assert f"/dev/sda says itself that it is {WWID}" in lines[2][1]
    assert has(told(world(here, owned=(), facts={"sda": FACTS})), OK, "session 1", "borrowed")


@pytest.mark.parametrize(
    ("facts", "part"),
    [
        ({**FACTS, "wwids": [str(OTHER_WWID)]}, f"is not {WWID} but {OTHER_WWID}"),
        ({**FACTS, "size": 1 << 20}, "expected 67108864"),
        ({**FACTS, "claimed": True}, "this host itself uses"),
        ("SCSI probe did not finish", "does not say who it is"),
    ],
)
def test_another_disk_than_it_should_be_is_refused(facts, part):
    here = worlds.session(1, worlds.disk())
    assert has(told(world(here, facts={"sda": facts})), REFUSED, part)


def test_a_path_that_is_silent_below_a_vm_that_runs_refuses_nothing():
    here = worlds.session(1, worlds.disk())
    lines = told(world(here, facts={"sda": "SCSI probe did not finish"}), running=True)
    assert has(lines, NOTE, "/dev/sda does not say who it is")
    assert REFUSED not in verdicts(lines)


def test_a_disk_that_something_holds_is_refused():
    held = worlds.session(1, worlds.disk(holders=("dm-3",)))
    assert has(told(world(held, facts={"sda": FACTS})), REFUSED, "dm-3 on this host holds /dev/sda")


def test_a_portal_that_lets_nobody_in_is_passed_over_and_one_must_be_left():
    two = dataclasses.replace(VOLUME, portals=(PORTAL, SECOND))
    closed = {(TARGET, PORTAL): "the portal does not answer"}
    lines = told(world(closed=closed), two)
    assert has(lines, NOTE, "at 10.77.1.1:3260: the portal does not answer")
    assert has(lines, DO, f"log in to {TARGET} at 10.77.2.1:3260")
    both = {**closed, (TARGET, SECOND): "denied"}
    lines = told(world(closed=both), two)
    assert has(lines, REFUSED, "0 of the 1 paths that volume vm1-0 needs")
    assert not has(lines, DO, ""), "nothing comes after that"


def test_a_target_that_wants_a_secret_gets_the_volumes():
    closed = {(TARGET, PORTAL): loginprobe.WANTS_CHAP}
    assert has(told(world(closed=closed)), REFUSED, "paths")
    secret = dataclasses.replace(VOLUME, secret="chap")
    assert has(told(world(closed=closed), secret), DO, "log in", "with the secret chap")


def test_a_session_that_is_down_is_waited_for_and_a_record_of_others_is_said():
    down = worlds.session(1, worlds.disk(), state="FAILED")
    assert has(told(world(down)), DO, "session 1", "FAILED")
    foreign = frozenset([(TARGET, PORTAL)])
    assert has(told(world(foreign=foreign)), DO, "by the operator's node record")


def test_a_map_has_every_path_that_can_be_had():
    lun = dataclasses.replace(VOLUME, portals=(PORTAL, SECOND), min_paths=2)
    here = worlds.session(1, worlds.disk(holders=("dm-0",), map="dm-0"))
    facts = {"sda": {**FACTS, "claimed": True}}
    lines = told(world(here, facts=facts), lun, mapped=True)
    assert has(lines, OK, "session 1") and has(lines, DO, "at 10.77.2.1:3260")
    assert has(lines, OK, "/dev/sda, a path of /dev/dm-0")
    assert not has(lines, REFUSED, "")
    closed = {(TARGET, SECOND): "the portal does not answer"}
    lines = told(world(here, facts=facts, closed=closed), lun, mapped=True)
    assert has(lines, REFUSED, "1 of the 2 paths")


def reservation(*registrations, here=False):
    found = Reservation(tuple(registrations))
    return {
        str(WWID): ReservationStatus(str(WWID), "vm1-0", True, "", here, "can", found),
    }


def test_fencing_says_who_holds_the_lun():
    other = Registration(7, "iqn.2026-11.com.example:other", "", holder=True, type=5)
    assert has(told(world(), FENCED), DO, "register", "refused if another host holds it")
    held = world(reservations=reservation(other))
    assert has(told(held, FENCED), REFUSED, other.initiator, "kvmlun takeover vm1")
    lost = told(held, FENCED, running=True)
    assert has(lost, NOTE, other.initiator, "kvmlun status") and not has(lost, NOTE, "takeover")
    arriving = world(reservations=reservation(other), arriving=True)
    assert has(told(arriving, FENCED), DO, "register beside", other.initiator)
    mine = world(reservations=reservation(other, here=True))
    assert has(told(mine, FENCED), OK, "this host holds it")
    assert has(told(world(), FENCED, shareable=True), NOTE, "<shareable/>")


def test_a_running_vm_has_what_it_has_and_is_told_what_comes_after():
    here = worlds.session(1, worlds.disk())
    lines = told(world(here, facts={"sda": {**FACTS, "claimed": True}}), running=True)
    assert not has(lines, DO, "") and not has(lines, REFUSED, "")
    assert lines[-1] == (NOTE, "when the VM has ended it goes after 10 s, if nobody else needs it")
    borrowed = told(world(here, owned=(), facts={"sda": FACTS}), running=True)
    assert "borrowed" in borrowed[-1][1]
    down = told(world(worlds.session(1, worlds.disk(), state="FAILED")), running=True)
    assert has(down, NOTE, "does not answer now")


def test_a_cache_that_forbids_a_migration_is_said():
    assert has(told(world(), cache="writeback"), NOTE, "cache='writeback'", "migration")


def test_disks_that_are_not_ours_are_named_with_the_reason():
    disk = Disk("vda", (WWID.link,), False, False, "none")
    domain = Domain(UUID, "vm1", (disk,), (), False, (("vdb", "/dev/sdb"), ("sda", "")))
    lines = explain.lines(domain, [Known(disk, WWID.link, None)], world(), False)
    assert [(line.disk, line.verdict) for line in lines] == [
        ("vda", NOTE), ("vdb", NOTE), ("sda", NOTE)
    ]  # fmt: skip
    assert "does not exist here" in lines[0].text
    assert "/dev/sdb is no link" in lines[1].text and "empty drive" in lines[2].text


def test_what_the_sources_contradict_is_refused():
    disk = Disk("vda", (WWID.link,), False, False, "none")
    domain = Domain(UUID, "vm1", (disk,), (), False)
    (line,) = explain.lines(domain, [Known(disk, WWID.link, None, "both")], world(), False)
    assert (line.verdict, line.text) == (REFUSED, "both")
