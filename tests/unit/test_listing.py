"""What a listing tells once a domain has ended."""

import dataclasses

from kvmlun.listing import Listing

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
