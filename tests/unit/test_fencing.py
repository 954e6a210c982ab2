"""What is due for a running domain's key, by what its target says."""

import pytest

from kvmlun.fencing import Step, due, victim
from kvmlun.keys import ARRIVING, BEGINNING, HOLDER, LOST, REGAINING, STARTING, Record
from kvmlun.reservation import Host, Registration, Reservation

HERE, THERE = Host(1, "iqn.2026-11.com.example:here"), Host(2, "iqn.2026-11.com.example:there")
MINE, OLD, RIVAL = 1 << 32 | 20, 1 << 32 | 10, 2 << 32 | 15


def reservation(*keys, holder=None, generation=0):
    names = {1: HERE.initiator, 2: THERE.initiator}
    made = (
        Registration(k, names[k >> 32], f"{names[k >> 32]},i,0x0", k == holder, 5) for k in keys
    )
    return Reservation(tuple(made), generation, holder or 0)


def record(phase, rival=0):
    return Record("naa.1", "uuid", "vm1", MINE, phase, (rival,) if rival else ())


@pytest.mark.parametrize(
    "phase, rival, found, step",
    [
        (HOLDER, 0, reservation(MINE, holder=MINE), Step.NOTHING),
        (ARRIVING, RIVAL, reservation(MINE, holder=MINE), Step.NOTHING),
        (STARTING, 0, reservation(MINE, RIVAL, holder=MINE), Step.NOTHING),
        (ARRIVING, RIVAL, reservation(MINE, RIVAL, holder=RIVAL), Step.PREEMPT),
        (ARRIVING, RIVAL, reservation(MINE, RIVAL, holder=MINE), Step.PREEMPT),
        (ARRIVING, RIVAL, reservation(MINE), Step.RESERVE),
        (STARTING, 0, reservation(MINE), Step.RESERVE),
        (ARRIVING, 0, reservation(MINE, RIVAL, holder=RIVAL), Step.LOSE),
        (ARRIVING, RIVAL, reservation(RIVAL, holder=RIVAL), Step.REJOIN),
        (ARRIVING, RIVAL, reservation(), Step.REGAIN),
        (HOLDER, 0, reservation(generation=1), Step.LOSE),
        (LOST, 0, reservation(), Step.LOSE),
        (BEGINNING, 0, reservation(MINE), Step.BEGIN),
        (BEGINNING, 0, reservation(RIVAL, holder=RIVAL), Step.LOSE),
        (REGAINING, 0, reservation(MINE, generation=1), Step.REGAIN),
        (REGAINING, 0, reservation(generation=2), Step.LOSE),
        (HOLDER, 0, reservation(OLD, MINE, holder=MINE), Step.PREEMPT),
        (HOLDER, 0, reservation(RIVAL, holder=RIVAL), Step.LOSE),
        (HOLDER, 0, reservation(MINE, RIVAL, holder=RIVAL), Step.LOSE),
        (HOLDER, 0, reservation(RIVAL), Step.LOSE),
        (HOLDER, 0, reservation(), Step.REGAIN),
        (REGAINING, 0, reservation(RIVAL, generation=1), Step.LOSE),
        (REGAINING, 0, reservation(RIVAL, holder=RIVAL), Step.LOSE),
        (REGAINING, 0, reservation(MINE, holder=MINE), Step.NOTHING),
        (ARRIVING, RIVAL, reservation(MINE, OLD, holder=OLD), Step.PREEMPT),
    ],
)
def test_a_domain_with_a_key(phase, rival, found, step):
    assert due(record(phase, rival), found, HERE) is step


@pytest.mark.parametrize(
    "found, step",
    [
        (reservation(), Step.BEGIN),
        (reservation(RIVAL), Step.BEGIN),
        (reservation(OLD, holder=OLD), Step.ADOPT),
        (reservation(RIVAL, holder=RIVAL), Step.FOREIGN),
    ],
)
def test_a_domain_without_one(found, step):
    assert due(None, found, HERE) is step


def test_of_two_holders_the_one_whose_use_began_last_stays():
    """LIO makes a second one after its restart; it may lose the reservation with the other one."""
    two = Reservation(
        (
            Registration(MINE, HERE.initiator, "", True, 5),
            Registration(RIVAL, THERE.initiator, "", True, 5),
        ),
        2,
        RIVAL,
    )
    mine, theirs = record(HOLDER), Record("naa.1", "uuid", "vm1", RIVAL, HOLDER)
    assert due(mine, two, HERE) is Step.PREEMPT and victim(mine, two, HERE) == RIVAL
    assert due(theirs, two, THERE) is Step.LOSE
    alone = Reservation(two.registrations[:1], 3, 0)
    assert due(mine, alone, HERE) is Step.RESERVE
