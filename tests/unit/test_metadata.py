"""Which metadata a domain gets: what every host can use, written once."""

import dataclasses

from kvmlun import domxml, inventory
from kvmlun.config import Config, Settings
from kvmlun.domxml import Disk
from kvmlun.listing import Listing
from kvmlun.lun import Portal
from kvmlun.metadata import wanted

from . import worlds
from .worlds import BY_PATH, LUN, PORTAL, UUID, WWID, domain, guest

SESSION = worlds.session(1, worlds.disk())
EMPTY = Config(Settings(), {})


def test_what_only_this_host_has_does_not_travel():
    portals = tuple(dataclasses.replace(PORTAL, iface=name) for name in ("san0", "san1"))
    volume = dataclasses.replace(LUN, portals=portals, volume="a", secret="s", min_paths=2)
    config = Config(Settings(), {"a": volume})
    stopped = guest(None, domain(WWID.link), active=False)
    (write,) = wanted(Listing(7.0, (stopped,)), (), config)
    assert write.xml == domxml.metadata(UUID, [LUN])
    # What was written is all that is wanted: nothing is written again.
    stopped = guest(None, domain(WWID.link, luns=[LUN]), active=False)
    assert wanted(Listing(7.0, (stopped,)), (), config) == []


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


def test_portals_that_only_the_sender_knew_are_kept(monkeypatch):
    elsewhere = dataclasses.replace(LUN, portals=(*LUN.portals, Portal("10.77.2.1")))
    monkeypatch.setattr(inventory, "lun_of_link", lambda _link, sessions: LUN if sessions else None)
    listing = Listing(7.0, (guest(domain(WWID.link, luns=[elsewhere])),))
    assert wanted(listing, (SESSION,), EMPTY) == []
