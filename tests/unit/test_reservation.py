"""Persistent reservations: what targets say, and keys."""

import pytest

from kvmlun import errors, reservation
from kvmlun.reservation import Capabilities, Host, Registration, Reservation

HERE = Host(1, "iqn.2026-11.com.example:here")
THERE = "iqn.2026-11.com.example:there"


def descriptor(key, name, holder=False, kind=0):
    text = f"{name},i,0x00023d000001".encode()
    text += b"\0" * (-len(text) % 4)
    transport = bytes([0x45, 0]) + len(text).to_bytes(2, "big") + text
    head = key.to_bytes(8, "big") + bytes(4) + bytes([holder, kind]) + bytes(6)
    return head + len(transport).to_bytes(4, "big") + transport


def answer(*descriptors):
    body = b"".join(descriptors)
    return bytes(4) + len(body).to_bytes(4, "big") + body


def test_full_status_names_who_holds_and_who_is_registered():
    found = reservation.full_status(answer(descriptor(7, THERE, True, 5), descriptor(8, "iqn.x")))
    assert found.holder == Registration(7, THERE, f"{THERE},i,0x00023d000001", True, 5)
    assert [each.initiator for each in found.registrations] == [THERE, "iqn.x"]
    assert found.keys == {7, 8} and found.held_by(7) and not found.held_by(8)


def test_nobody_is_registered():
    assert reservation.full_status(bytes(8)) == Reservation()


def test_a_list_that_is_cut_off_is_an_error():
    with pytest.raises(errors.Storage, match="cut off"):
        reservation.full_status(answer(descriptor(7, THERE))[:-4] + b"")


def test_a_port_that_is_not_iscsis_has_no_name():
    fibre = descriptor(7, THERE).replace(b"\x45\0", b"\0\0", 1)
    assert reservation.full_status(answer(fibre)).registrations[0].initiator == ""


@pytest.mark.parametrize(
    "data, abort, lacks",
    [
        ("0008158ce1010000", True, ""),  # LIO, Linux 6.1
        ("0008158ce1010000", False, "PREEMPT AND ABORT"),
        ("00080180c1010000", True, "reservations of type 5 (write exclusive, registrants only)"),
        ("0008150000000000", True, ""),
    ],
)
def test_capabilities(data, abort, lacks):
    assert reservation.capabilities(bytes.fromhex(data), abort).lacks == lacks


def test_what_a_target_can_do_is_told():
    assert reservation.capabilities(bytes.fromhex("0008158ce1010000"), True).aptpl
    assert "kept over a restart" in Capabilities(True, True, True, True).text
    assert "lost at its restart" in Capabilities(True, True, False, True).text
    assert Capabilities(False).text == "no persistent reservations with READ FULL STATUS"


def test_a_key_tells_the_host_and_since_when(monkeypatch):
    monkeypatch.setattr(reservation.time, "time", lambda: 1_795_663_193.9)
    key = reservation.make_key(HERE)
    assert (key >> 32, reservation.since(key)) == (1, 1_795_663_193)
    assert reservation.make_key(HERE, key) == key + 1, "in the same second, or the clock went back"
    assert reservation.make_key(HERE, 2 << 32 | 0xFFFFFFFF) == key


def test_only_name_and_id_together_make_a_key_this_hosts_own():
    mine, other = Registration(1 << 32 | 5, HERE.initiator.upper(), ""), 2 << 32 | 5
    found = Reservation((mine, Registration(other, THERE, "")))
    assert found.stale(HERE) == (mine.key,) and found.stale(HERE, mine.key) == ()
    found.check_name("vm1", HERE)


@pytest.mark.parametrize(
    "clone, told",
    [
        (Registration(2 << 32, HERE.initiator, ""), "initiatorname.iscsi"),
        (Registration(1 << 32, THERE, ""), "machine-id"),
    ],
)
def test_a_clone_is_told_from_this_host(clone, told):
    with pytest.raises(errors.Refused, match=told):
        Reservation((clone,)).check_name("vm1", HERE)


def test_a_reservation_of_another_kind_is_not_kvmluns():
    told = reservation.held("vm1", Registration(9, THERE, "", True, 1), "takeover")
    assert "type 1" in str(told) and "takeover" not in str(told)
