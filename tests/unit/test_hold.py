"""A running domain's hold on a LUN with two paths."""

import asyncio
import dataclasses

import pytest

from kvmlun import errors, events
from kvmlun.keys import HOLDER, LOST

from .fenced import REQUEST, RIVAL, THERE, VM
from .worlds import WWID


def test_a_guest_whose_lun_was_taken_is_suspended_for_good(host):
    host.start()
    host.target.keys, host.target.holder = {THERE: RIVAL}, THERE
    record = host.look()
    assert record.phase == LOST and THERE in record.why and "virsh destroy vm1" in record.why
    host.target.keys, host.target.holder = {}, None
    assert host.look().phase == LOST, "who took it has stopped by now, and has written"
    assert host.guest.calls == ["suspend"] * 2 and record.why in host.hold.troubles[0]
    host.stop()
    assert not host.record and not host.target.keys


def test_a_target_that_others_have_left_has_not_forgotten(host):
    host.start()
    host.target.keys, host.target.holder = {}, None
    assert host.target.generation and host.look().phase == LOST
    assert host.guest.calls == ["suspend"] and not host.target.keys


def stood_still(caplog):
    """Return what was told of a guest's standing still."""
    kinds = (events.STANDSTILL.id, events.STANDSTILL_OVER.id)
    return [r.getMessage() for r in caplog.records if getattr(r, "MESSAGE_ID", "") in kinds]


def test_a_target_that_forgot_is_reserved_again_while_the_guest_stands_still(host, caplog):
    host.start()
    host.target.__init__()
    record = host.look()
    assert record.phase == HOLDER and host.guest.calls == ["suspend", "resume"]
    assert list(host.target.keys.values()) == [record.key] * 2
    assert stood_still(caplog) == [
        f"vm1 is suspended until this host holds {WWID}: the target has lost the reservation",
        "vm1 goes on",
    ]


def test_fencing_that_is_turned_on_under_a_guest(host, caplog):
    assert host.look().phase == HOLDER
    assert host.guest.calls == ["suspend", "resume"]
    suspended, over = stood_still(caplog)
    assert "suspended until" in suspended and over == "vm1 goes on"


def test_a_guest_that_somebody_paused_stays_so(host, caplog):
    host.guest.paused = True
    assert host.look().phase == HOLDER
    assert "resume" not in host.guest.calls and not stood_still(caplog)


def test_a_guest_that_stands_still_for_long_is_told_of_once(host, caplog, monkeypatch):
    def silent(*_):
        raise errors.Timeout("no answer")

    host.start()
    host.target.__init__()
    with monkeypatch.context() as patched:
        patched.setattr(host.target, "pr_register", silent)
        for _ in range(2):
            with pytest.raises(errors.Timeout):
                host.look()
    assert len(stood_still(caplog)) == 1
    host.look()
    assert stood_still(caplog)[1:] == ["vm1 goes on"]


def test_fencing_that_can_not_be_turned_on_lets_the_guest_go_on(host, monkeypatch):
    def refuse(*_):
        raise errors.Storage("no folder")

    monkeypatch.setattr(host.target, "pr_register", refuse)
    for _ in range(2):
        with pytest.raises(errors.Storage, match="no folder"):
            host.look()
    assert host.guest.calls == ["suspend", "resume"] and not host.record


def test_fencing_that_is_turned_on_where_another_host_writes(host):
    host.target.keys, host.target.holder = {THERE: RIVAL}, THERE
    with pytest.raises(errors.Refused, match="can't write"):
        host.look()
    assert not host.guest.calls and not host.record


def test_fencing_that_is_turned_off_under_a_guest(host):
    host.start()
    off = dataclasses.replace(VM, requests=(dataclasses.replace(REQUEST, fenced=False),))
    assert asyncio.run(host.hold.visit(off))
    assert not host.target.keys and not host.record
