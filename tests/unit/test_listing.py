"""What a listing tells once a domain has ended, and while libvirt does not answer."""

import dataclasses

import pytest

from kvmlun import errors
from kvmlun.listing import Listing, known

from . import worlds
from .worlds import UUID, WWID

DOMAIN = worlds.domain(WWID.link)
OTHER = dataclasses.replace(worlds.guest(DOMAIN), uuid="other")


def ended(guest):
    return Listing(1.0, (guest, OTHER)).without([UUID]).guests


def test_a_domain_that_ended_is_off_and_still_defined():
    there = worlds.guest(DOMAIN, DOMAIN)
    there = dataclasses.replace(there, in_transit=True)
    assert ended(there) == (worlds.guest(None, DOMAIN, active=False, settled=False), OTHER)


def test_one_without_a_definition_is_gone():
    assert ended(worlds.guest(DOMAIN)) == (OTHER,)


def test_what_is_not_known_is_refused_and_what_was_known_is_old():
    told = Listing(1.0, (OTHER,))
    assert known(told, "", errors.Refused) == told
    assert known(told, "no answer", errors.Refused, old=True) == told
    for listing, problem, why in (
        (told, "no answer", "no answer"),
        (None, "no answer", "no answer"),
        (None, "", "libvirt was not asked yet; try again"),
    ):
        with pytest.raises(errors.Refused, match=f"^nobody: {why}$"):
            known(listing, problem, lambda why: errors.Refused(f"nobody: {why}"))
