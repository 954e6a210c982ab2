"""What is taken away, when, and what never is."""

import dataclasses

import pytest

from kvmlun.lun import LunAddress
from kvmlun.reconcile import (
    DropMarker,
    EndSession,
    ForgetEntry,
    ForgetMap,
    Holds,
    RemoveDisk,
    decide,
)

from . import worlds
from .worlds import ADDRESS, PORTAL, TARGET, WWID

GRACE = 10.0


def due(view, seconds=GRACE):
    """Return the actions that are due after the world has looked like `view` for some seconds."""
    plan = decide(view, {}, 100.0, GRACE)
    return decide(view, plan.idle, 100.0 + seconds, GRACE).actions


def hold(**by):
    holds = Holds()
    for kind, key in by.items():
        getattr(holds, kind)(key, "vm1")
    return holds


def our_session(*disks, holds=None, markers=None):
    session = worlds.session(1, *disks)
    return worlds.view(session, owned={1}, entries=[worlds.entry()], holds=holds, markers=markers)


def ended(actions):
    return [action.session.sid for action in actions if isinstance(action, EndSession)]


def test_an_unused_session_of_ours_ends_after_the_grace():
    world = our_session(worlds.disk())
    assert ended(due(world)) == [1]
    assert not due(world, GRACE - 0.1)


def test_a_session_that_was_used_in_between_waits_the_whole_grace_again():
    idle = decide(our_session(worlds.disk()), {}, 100.0, GRACE).idle
    used = decide(our_session(worlds.disk(), holds=hold(wwid=str(WWID))), idle, 105.0, GRACE).idle
    assert not decide(our_session(worlds.disk()), used, 110.5, GRACE).actions


def test_a_disk_that_disappears_from_an_idle_session_does_not_restart_its_grace():
    idle = decide(our_session(worlds.disk()), {}, 100.0, GRACE).idle
    assert ended(decide(our_session(), idle, 110.0, GRACE).actions) == [1]


def test_a_plan_tells_when_to_look_again():
    plan = decide(our_session(worlds.disk()), {}, 100.0, GRACE)
    assert plan.next_due(100.0, GRACE) == 110.0
    assert decide(worlds.view(), {}, 100.0, GRACE).next_due(100.0, GRACE) is None


def test_what_was_due_and_could_not_be_done_is_due_again_at_once():
    world = our_session(worlds.disk())
    first = decide(world, decide(world, {}, 100.0, GRACE).idle, 110.0, GRACE)
    assert ended(decide(world, first.idle, 112.0, GRACE).actions) == [1]


def test_each_kind_of_hold_keeps_the_session():
    for holds in (
        hold(wwid=str(WWID)), hold(address=ADDRESS), hold(device="sda"),
    ):  # fmt: skip
        assert not due(our_session(worlds.disk(), holds=holds), 1000)


def test_a_hold_on_a_lun_that_is_not_there_yet_keeps_the_session():
    assert not due(our_session(holds=hold(address=ADDRESS)), 1000)


def test_a_flat_lun_number_is_recognised():
    holds = hold(address=LunAddress(TARGET, 300))
    session = worlds.session(1, worlds.disk(lun=300 | 0x4000, wwid=""))
    assert holds.of_disk(session, session.disks[0]) == {"vm1"}


def test_a_borrowed_session_is_never_ended():
    assert not due(worlds.view(worlds.session(1, worlds.disk())), 1000)


def test_one_of_two_luns_is_removed_and_the_session_stays():
    used, unused = worlds.disk(), worlds.disk("sdb", 1, worlds.OTHER_WWID)
    session = worlds.session(1, used, unused)
    marks = {session.id_path(used): True, session.id_path(unused): True}
    world = our_session(used, unused, holds=hold(wwid=str(WWID)), markers=marks)
    (action,) = due(world)
    assert isinstance(action, RemoveDisk) and action.disk.name == "sdb"


def test_on_a_borrowed_session_only_what_we_scanned_is_removed():
    found, scanned = worlds.disk(), worlds.disk("sdb", 1, worlds.OTHER_WWID)
    session = worlds.session(1, found, scanned)
    marks = {session.id_path(found): False, session.id_path(scanned): True}
    (action,) = due(worlds.view(session, markers=marks))
    assert isinstance(action, RemoveDisk) and action.disk.name == "sdb"


def test_an_entry_without_a_session_is_forgotten_at_once():
    world = worlds.view(entries=[worlds.entry()])
    assert decide(world, {}, 0.0, GRACE).actions == (ForgetEntry(worlds.entry()),)


def test_an_entry_whose_login_is_under_way_is_kept():
    world = worlds.view(entries=[worlds.entry()], holds=hold(address=LunAddress(TARGET, 0)))
    assert not due(world, 1000)


def test_a_mark_goes_after_its_disk():
    session = worlds.session(1, worlds.disk())
    id_path = session.id_path(session.disks[0])
    assert DropMarker(id_path) not in due(worlds.view(session, markers={id_path: False}), 1000)
    assert due(worlds.view(markers={id_path: True})) == (DropMarker(id_path),)


@pytest.mark.parametrize(
    "state, owned, scanned, stays",
    [
        ("FAILED", False, True, True),
        ("LOGGED_IN", True, True, True),
        ("LOGGED_IN", False, True, False),
        ("FAILED", False, False, False),
    ],
)
def test_a_mark_stays_while_a_scan_given_up_may_still_find_its_disk(state, owned, scanned, stays):
    session = worlds.session(1, state=state)
    id_path = session.id_path(worlds.disk())
    world = worlds.view(session, owned=[1] if owned else [], markers={id_path: scanned})
    assert (DropMarker(id_path) not in decide(world, {}, 0.0, GRACE).actions) == stays


def test_a_mark_made_before_the_scan_stays():
    id_path = worlds.session(1).id_path(worlds.disk())
    world = worlds.view(markers={id_path: True}, holds=hold(address=ADDRESS))
    assert not due(world, 1000)


def test_the_session_of_another_portal_is_not_taken_for_the_entrys():
    other = worlds.session(7, portal=type(PORTAL)("10.77.2.1"))
    world = worlds.view(other, entries=[worlds.entry()])
    assert ForgetEntry(worlds.entry()) in due(world)


def test_a_map_that_is_gone_is_forgotten_unless_its_lun_is_needed():
    view = dataclasses.replace(worlds.view(), lost_maps=frozenset({WWID.map_uuid}))
    assert due(view, 0) == (ForgetMap(WWID.map_uuid),)
    assert not due(dataclasses.replace(view, holds=hold(wwid=str(WWID))), 0)
