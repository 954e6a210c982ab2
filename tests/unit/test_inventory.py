"""Who holds what: leases until libvirt's list tells more."""

import dataclasses

from kvmlun import inventory
from kvmlun.config import Config, Settings
from kvmlun.domxml import Disk, Domain
from kvmlun.leases import CONNECTION, Lease, Need
from kvmlun.libvirtconn import Guest, Listing
from kvmlun.lun import Portal
from kvmlun.metadata import wanted

from . import worlds
from .worlds import ADDRESS, BY_PATH, LUN, TARGET, UUID, WWID

NEED = Need(TARGET, 0, str(WWID), False)
LEASE = Lease(UUID, "vm1", (NEED,), began=5.0, settled=6.0)
SESSION = worlds.session(1, worlds.disk())
EMPTY = Config(Settings(), {})


def domain(*links, luns=(), shareable=False, overlays=False):
    disks = tuple(Disk("vda", (link,), False, shareable) for link in links)
    return Domain(UUID, "vm1", disks, tuple(luns), overlays)


def guest(live=None, persistent=None, active=True, settled=True):
    return Guest(UUID, "vm1", active, live, persistent, settled)


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


def test_a_connection_holds_whatever_libvirt_lists_and_conflicts_with_nobody():
    connection = dataclasses.replace(LEASE, uuid="c", settled=None, role=CONNECTION)
    nothing = Listing(7.0, ())
    assert held([connection], nothing)
    assert not list(inventory.other_needs(UUID, [connection], nothing))


def test_metadata_keeps_the_lun_below_an_overlay():
    """Of an external snapshot the live XML shows the chain, the persistent one the overlay only."""
    below = dataclasses.replace(LUN, overlay=True)
    disk = Disk("vda", (WWID.link,), False, False, below=(WWID.link,))
    live = dataclasses.replace(domain(luns=[below], overlays=True), disks=(disk,))
    kept = domain(luns=[below], overlays=True)
    lost = domain(overlays=True)
    stale = domain(luns=[LUN], overlays=True)
    assert wanted(Listing(7.0, (guest(live, kept),)), (), EMPTY) == []
    (write,) = wanted(Listing(7.0, (guest(live, lost),)), (), EMPTY)
    assert not write.live and str(WWID) in write.xml
    assert wanted(Listing(7.0, (guest(None, kept, active=False),)), (), EMPTY) == []
    (gone,) = wanted(Listing(7.0, (guest(None, stale, active=False),)), (), EMPTY)
    assert gone.xml is None


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


def test_metadata_is_written_where_it_is_missing():
    catalog = Config(Settings(), {"vm1": dataclasses.replace(LUN, volume="vm1")})
    listing = Listing(7.0, (guest(domain(WWID.link), domain(WWID.link)),))
    writes = wanted(listing, (), catalog)
    assert [write.live for write in writes] == [True, False]
    assert all(str(WWID) in write.xml for write in writes)


def test_metadata_that_is_right_is_left():
    listing = Listing(7.0, (guest(domain(WWID.link, luns=[LUN]), domain(WWID.link, luns=[LUN])),))
    assert wanted(listing, (), EMPTY) == []


def test_metadata_dropped_by_a_define_comes_back_from_the_live_definition():
    listing = Listing(7.0, (guest(domain(WWID.link, luns=[LUN]), domain(WWID.link)),))
    (write,) = wanted(listing, (), EMPTY)
    assert not write.live and str(WWID) in write.xml


def test_no_metadata_is_written_during_a_migration():
    catalog = Config(Settings(), {"vm1": LUN})
    assert not wanted(Listing(7.0, (guest(domain(WWID.link), settled=False),)), (), catalog)


def test_metadata_of_a_detached_disk_goes():
    (write,) = wanted(Listing(7.0, (guest(domain(luns=[LUN])),)), (), EMPTY)
    assert write.live and write.xml is None


def test_a_pin_is_not_replaced_by_what_is_there(monkeypatch):
    there = dataclasses.replace(LUN, wwid=worlds.OTHER_WWID)
    monkeypatch.setattr(
        inventory, "lun_of_link", lambda _link, sessions: there if sessions else None
    )
    pinned = domain(BY_PATH, luns=[LUN])
    assert not wanted(Listing(7.0, (guest(pinned),)), (SESSION,), EMPTY)
    (first,) = wanted(Listing(7.0, (guest(domain(BY_PATH)),)), (SESSION,), EMPTY)
    assert str(worlds.OTHER_WWID) in first.xml
    assert not wanted(
        Listing(7.0, (guest(None, domain(BY_PATH), active=False),)), (SESSION,), EMPTY
    )


def test_a_detached_lun_is_free_for_another_domain():
    assert not list(inventory.other_needs("another", [LEASE], Listing(7.0, (guest(domain()),))))


def test_portals_that_only_the_sender_knew_are_kept(monkeypatch):
    elsewhere = dataclasses.replace(LUN, portals=(*LUN.portals, Portal("10.77.2.1")))
    monkeypatch.setattr(inventory, "lun_of_link", lambda _link, sessions: LUN if sessions else None)
    listing = Listing(7.0, (guest(domain(WWID.link, luns=[elsewhere])),))
    assert wanted(listing, (SESSION,), EMPTY) == []
