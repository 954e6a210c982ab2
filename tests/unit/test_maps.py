"""Which LUNs lack a path: those in a map, by portals that it has none of."""

import dataclasses

import pytest

from kvmlun import inventory
from kvmlun.lun import Portal
from kvmlun.maps import lacking
from kvmlun.request import Request

from . import worlds
from .worlds import LUN, OTHER_WWID, PORTAL, UUID, WWID

SECOND = Portal("10.77.2.1")
REQUEST = Request(dataclasses.replace(LUN, portals=(PORTAL, SECOND)), WWID.link, False, False, UUID)


def path(name="sda", above="dm-0", **changes):
    return worlds.disk(name, map=above, holders=(above,) if above else (), **changes)


ONE = worlds.session(1, path())


@pytest.mark.parametrize(
    "sessions, lacks",
    [
        ([ONE], True),
        ([ONE, worlds.session(2, path("sdb"), portal=SECOND)], False),
        ([ONE, worlds.session(2, path("sdb"), portal=SECOND, state="FAILED")], True),
        # Another LUN's map on that portal is none of this one's.
        ([ONE, worlds.session(2, path("sdb", "dm-1", wwid=OTHER_WWID), portal=SECOND)], True),
        # Used without a map: QEMU has the disk itself open.
        ([worlds.session(1, path(above=""))], False),
        # The catalog names another target meanwhile.
        ([worlds.session(1, path(), target=f"{LUN.address.target}.old")], False),
        ([], False),
    ],
)
def test_a_lun_lacks_a_path(sessions, lacks):
    assert lacking([REQUEST], sessions) == ([REQUEST] if lacks else [])


def test_a_link_to_a_map_leads_to_its_lun(monkeypatch):
    monkeypatch.setattr(inventory.os.path, "realpath", lambda _: "/dev/dm-0")
    sessions = [ONE, worlds.session(2, path("sdb"), portal=SECOND)]
    found = inventory.lun_of_link(WWID.link, sessions)
    assert found == dataclasses.replace(LUN, portals=(PORTAL, SECOND))
