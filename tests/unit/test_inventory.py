"""Who holds what: leases until libvirt's list tells more."""

import dataclasses

from kvmlun import inventory, links
from kvmlun.config import Config, Settings
from kvmlun.leases import CONNECTION, Lease, Need
from kvmlun.listing import Listing

from . import worlds
from .worlds import ADDRESS, BY_PATH, LUN, TARGET, UUID, WWID, domain, guest

NEED = Need(TARGET, 0, str(WWID), False)
LEASE = Lease(UUID, "vm1", (NEED,), began=5.0, settled=6.0)
SESSION = worlds.session(1, worlds.disk())
EMPTY = Config(Settings(), {})


def held(leases=(), listing=None):
    return inventory.holds(leases, listing, ()).of_disk(SESSION, SESSION.disks[0])


def test_a_lease_holds_by_identity_and_address():
    holds = inventory.holds([LEASE], None, ())
    assert str(WWID) in holds.wwids and ADDRESS in holds.addresses


def test_a_listing_from_before_the_hooks_end_does_not_replace_a_lease():
    old = Listing(5.5, (guest(domain()),))
    assert held([LEASE], old)
    assert not held([LEASE], Listing(7.0, (guest(domain()),)))


def test_a_domain_whose_xml_cannot_be_had_yet_keeps_its_lease():
    assert held([LEASE], Listing(7.0, (guest(live=None),)))


def test_a_running_hook_keeps_its_lease():
    unsettled = dataclasses.replace(LEASE, settled=None)
    assert held([unsettled], Listing(7.0, (guest(domain()),)))


def test_a_running_domain_holds_by_link_and_by_metadata():
    assert held(listing=Listing(7.0, (guest(domain(WWID.link)),)))
    assert held(listing=Listing(7.0, (guest(domain(BY_PATH)),)))
    assert held(listing=Listing(7.0, (guest(domain(luns=[LUN])),)))


def test_a_link_to_a_disk_of_this_host_is_known_for_one(monkeypatch):
    listing = Listing(7.0, (guest(domain(WWID.link)),))
    assert not inventory.holds((), listing, ()).local
    monkeypatch.setattr(links, "judge", lambda _link: links.LOCAL)
    assert inventory.holds((), listing, ()).local == {str(WWID)}


def test_a_connection_holds_whatever_libvirt_lists_and_conflicts_with_nobody():
    connection = dataclasses.replace(LEASE, uuid="c", settled=None, role=CONNECTION)
    nothing = Listing(7.0, ())
    assert held([connection], nothing)
    assert not list(inventory.other_needs(UUID, [connection], nothing))


def test_a_domain_that_is_only_defined_holds_nothing():
    stopped = guest(None, domain(WWID.link, luns=[LUN]), active=False)
    assert not held(listing=Listing(7.0, (stopped,)))


def test_a_login_under_way_holds_its_target():
    assert inventory.holds((), None, [TARGET]).of_target(TARGET)


def test_other_domains_needs_are_told_with_their_names():
    running = Listing(7.0, (guest(domain(WWID.link, luns=[LUN])),))
    (other,) = inventory.other_needs("another", (), running)
    assert other == ("vm1", NEED)
    assert not list(inventory.other_needs(UUID, [LEASE], running))
    assert list(inventory.other_needs("another", [LEASE], None)) == [("vm1", NEED)]


def test_a_detached_lun_is_free_for_another_domain():
    assert not list(inventory.other_needs("another", [LEASE], Listing(7.0, (guest(domain()),))))
