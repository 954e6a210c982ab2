"""What Client.status() returns, for those who draw it."""

TARGET = "iqn.2026-11.com.example:vm1"
WWID = "naa.60014051111111111111111111111111"
OTHER_WWID = "naa.60014052222222222222222222222222"
LINK = "/dev/disk/by-id/wwn-0x60014051111111111111111111111111"


def lun(**changes):
    return {
        "wwid": WWID,
        "volume": "vm1-0",
        "target": TARGET,
        "lun": 0,
        "portals": ["10.77.1.1:3260"],
        "device": "/dev/sda",
        "link": LINK,
        "size": 64 << 20,
        "sessions": ["/io/github/kvmlun/sessions/1"],
        "domains": ["vm1"],
        "state": "in-use",
        "key": "",
        **changes,
    }


def absent(**changes):
    gone = {"device": "", "sessions": [], "domains": [], "state": "absent"}
    other = {"volume": "data-0", "wwid": OTHER_WWID, "link": LINK.replace("1" * 25, "2" * 25)}
    return lun(**{**gone, **other, **changes})


def session(**changes):
    made = {"id": 1, "target": TARGET, "portal": "10.77.1.1:3260", "iface": ""}
    return {**made, "state": "LOGGED_IN", "owned": True, **changes}


def status(luns=None, sessions=None, **changes):
    return {
        "version": "0.1.0",
        "libvirt_problem": "",
        "drained_since": 0,
        "config_problem": "",
        "suspended": [],
        "fencing_problems": [],
        "waiting": [],
        "reservations": [],
        "reservations_problem": "",
        "luns": [lun()] if luns is None else luns,
        "sessions": [session()] if sessions is None else sessions,
        **changes,
    }
