"""Small worlds for tests of pure logic."""

from kvmlun.domains import Domains
from kvmlun.domxml import Disk as DomainDisk
from kvmlun.domxml import Domain
from kvmlun.ledger import Entry
from kvmlun.listing import Guest
from kvmlun.lun import Lun, LunAddress, Portal, Wwid
from kvmlun.reconcile import Holds, View
from kvmlun.sysfs import LOGGED_IN, Disk, Session

TARGET = "iqn.2026-11.com.example:vm1"
PORTAL = Portal("10.77.1.1")
WWID = Wwid.parse("naa.60014051111111111111111111111111")
OTHER_WWID = Wwid.parse("naa.60014052222222222222222222222222")
UUID = "3c1b0f5e-0000-4000-8000-000000000001"
ADDRESS = LunAddress(TARGET, 0)
LUN = Lun(WWID, ADDRESS, (PORTAL,), 64 << 20)
BY_PATH = f"/dev/disk/by-path/ip-10.77.1.1:3260-iscsi-{TARGET}-lun-0"


def disk(name="sda", lun=0, wwid=WWID, **changes):
    values = {
        "name": name,
        "hctl": f"2:0:0:{lun}",
        "lun": lun,
        "number": "8:0",
        "size": 64 << 20,
        "read_only": False,
        "state": "running",
        "wwid": str(wwid),
        "holders": (),
        "partitions": (),
    }
    return Disk(**{**values, **changes})


def session(sid=1, *disks, target=TARGET, portal=PORTAL, state=LOGGED_IN):
    return Session(sid, target, portal, state, 2, disks)


def entry(sid=1, boot_id="boot", target=TARGET):
    return Entry(target, PORTAL.host, PORTAL.port, boot_id, sid)


def view(*sessions, owned=(), entries=(), markers=None, holds=None):
    return View(sessions, frozenset(owned), tuple(entries), markers or {}, holds or Holds())


def domain(*links, luns=(), shareable=False, overlays=False):
    disks = tuple(DomainDisk("vda", (link,), False, shareable) for link in links)
    return Domain(UUID, "vm1", disks, tuple(luns), overlays)


def guest(live=None, persistent=None, active=True, settled=True):
    return Guest(UUID, "vm1", active, live, persistent, settled)


def domains(listing=None, problem=""):
    """Return what is known of this host's domains, without a libvirt."""
    made = Domains(None)
    made.listing, made.problem = listing, problem
    return made
