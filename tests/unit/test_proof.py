"""The right disk: each way in which it is not."""

import dataclasses

import pytest

from kvmlun import errors, proof
from kvmlun.request import Request

from . import worlds
from .worlds import BY_PATH, LUN, OTHER_WWID, TARGET, UUID, WWID

FACTS = {"wwids": [str(WWID)], "size": LUN.size, "read_only": False, "claimed": False}
DISK = worlds.disk()


def test_the_pinned_disk():
    assert proof.identity("vm1", WWID, LUN.address, FACTS, DISK.node) == WWID


def test_any_of_the_devices_names_may_be_the_pinned_one():
    facts = {**FACTS, "wwids": [str(OTHER_WWID), str(WWID)]}
    assert proof.identity("vm1", WWID, LUN.address, facts, DISK.node) == WWID


def test_another_disk_is_refused_and_named():
    facts = {**FACTS, "wwids": [str(OTHER_WWID)]}
    with pytest.raises(errors.Stale, match=f"not {WWID} but {OTHER_WWID}"):
        proof.identity("vm1", WWID, LUN.address, facts, DISK.node)


def test_without_a_pin_the_first_name_is_the_one():
    assert proof.identity("vm1", None, LUN.address, FACTS, DISK.node) == WWID


def test_the_link_is_a_pin_as_well():
    unpinned = dataclasses.replace(LUN, wwid=None)
    assert Request(unpinned, OTHER_WWID.link, False, False, UUID).pinned == OTHER_WWID
    assert Request(unpinned, BY_PATH, False, False, UUID).pinned is None
    assert Request(LUN, BY_PATH, False, False, UUID).pinned == WWID


def test_no_identity_is_refused():
    with pytest.raises(errors.Refused, match="no identity"):
        proof.identity("vm1", None, LUN.address, {**FACTS, "wwids": []}, DISK.node)


def test_a_disk_with_the_links_of_another_one_is_stale():
    proof.fresh("vm1", FACTS, DISK.node, WWID.serial)
    for unknown in ("", "1LIO-ORG_by_name", "S1LIO-ORG_by_serial"):
        proof.fresh("vm1", FACTS, DISK.node, unknown)
    with pytest.raises(errors.Stale, match=f"was {OTHER_WWID.serial} .* is {WWID} now"):
        proof.fresh("vm1", FACTS, DISK.node, OTHER_WWID.serial)


def test_one_identity_on_two_targets_is_refused():
    twin = worlds.session(2, worlds.disk("sdb"), target=TARGET + ":twin")
    assert proof.twins(WWID, TARGET, [worlds.session(1, DISK), twin]) == [
        (TARGET + ":twin", twin.disks[0])
    ]
    assert not proof.twins(WWID, TARGET, [worlds.session(1, DISK), worlds.session(3, DISK)])
    assert proof.is_twin(WWID, FACTS)
    assert not proof.is_twin(worlds.OTHER_WWID, FACTS)


@pytest.mark.parametrize(
    "change, read_only, text",
    [
        ({"size": LUN.size - 512}, False, "bytes"),
        ({"size": 0}, False, "bytes"),
        ({"read_only": True}, False, "write-protected"),
        ({"claimed": True}, True, "itself uses"),
    ],
)
def test_unusable_devices_are_refused(change, read_only, text):
    with pytest.raises(errors.Refused, match=text):
        proof.usable(BY_PATH, LUN, {**FACTS, **change}, read_only, DISK.node)


def test_a_read_only_disk_may_be_write_protected_and_a_grown_one_larger():
    facts = {**FACTS, "read_only": True, "size": LUN.size * 2}
    proof.usable(BY_PATH, LUN, facts, True, DISK.node)
