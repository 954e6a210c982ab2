"""What the journal is told beside a line's text: what kind of event it is, and what it is about.

An event's id (MESSAGE_ID in systemd.journal-fields(7)) stays the same for ever. What an operator
reads about each with ``journalctl -x`` is in systemd/kvmlun.catalog.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from . import errors

_NOTHING: Mapping[str, str] = MappingProxyType({})
_context: contextvars.ContextVar[Mapping[str, str]] = contextvars.ContextVar(
    "about", default=_NOTHING
)


class Event:
    """A kind of line; called, it gives what logging takes as `extra`."""

    def __init__(self, id: str) -> None:
        self.id = id

    def __call__(self, *, domain: str = "", wwid: str = "", operation: str = "") -> dict[str, str]:
        return {"MESSAGE_ID": self.id, **fields(domain, wwid, operation)}


def fields(domain: str, wwid: str, operation: str) -> dict[str, str]:
    """Return the journal's fields for what is known, printable: the catalog quotes them."""
    named = {"DOMAIN": domain, "WWID": wwid, "OPERATION": operation}
    return {f"KVMLUN_{name}": errors.printable(value) for name, value in named.items() if value}


@contextlib.contextmanager
def about(*, domain: str = "", wwid: str = "", operation: str = "") -> Iterator[None]:
    """Have what is logged meanwhile, also by tasks that begin meanwhile, say this as well."""
    token = _context.set({**_context.get(), **fields(domain, wwid, operation)})
    try:
        yield
    finally:
        _context.reset(token)


def current() -> Mapping[str, str]:
    """Return the fields of about() that are in force."""
    return _context.get()


# The daemon
STARTED = Event("5ff13a56ea704b58a9ea5f5d0c79d530")
CONFIG_READ = Event("07e2043efef84892bfb7e9ba6cda74ed")
CONFIG_WRONG = Event("fab8f493bca843c387362390d396a142")
LIBVIRT_SILENT = Event("d95e077f6ee840c1874d1298ba9b3214")
LOG_LEVEL = Event("b2eddb562d84482aa314b82d4114ed83")
DRAINED = Event("2f180cd2738f4ed8b4d99cd26a00cc3b")
RESUMED = Event("aa65e369b39a414e9db38c55b611b933")

# VMs
READY = Event("4c68d34d40d9441aac02ccbb2ccd959c")
REFUSED = Event("9d6406580a7c44eaab4203f351415d24")
SUSPENDED = Event("d6d522b512ab4f218ea443e3ee5fa5bb")
GOES_ON = Event("4c5c540e0c724bb1959d3374dc0f9197")
PATH_WRONG = Event("239846fbeb564a1aa651f32ce2a817ba")
RETRIED = Event("8e30235043964da4869ca44af2083d2d")

# Sessions and LUNs
LOGGED_IN = Event("de374637a1da4ad49bc8d124995a6559")
LOGIN_FAILED = Event("ef37c741347c416bbeb7c168d2a2589c")
LOGGED_OUT = Event("88629d08d9454060a9c62584739fd26f")
SESSION_CHANGED = Event("c8a8565230d04a38aa05b4b6a456e044")
REMOVED = Event("b79dc8228ee545b5ac1afa549fccc71b")
STALE_REMOVED = Event("c40b32a9551f4b9680ba92cf7ca25de0")
POSTPONED = Event("19c15b35ad95418792651d1971478be1")
TIME_OVER = Event("53a3ff664ef7405e86b4b265090e28f4")
SECRET_WAITS = Event("ac33dd3423404da38698589758081513")

# Fencing
RESERVED = Event("c75cc196a7044e1b86c4e8fac5ec289f")
ARRIVED = Event("0a77fd4bf4d54c8aa428866b8405f2c0")
TAKEN_OVER = Event("63b10d6c3d34452aae8ccb72673813f2")
LOST = Event("e147424a479543feb49e28e3d7eb512a")
STANDSTILL = Event("aad68fdbe3ec4bcc9a332fa5fbf975a0")
STANDSTILL_OVER = Event("0356152580d141f3a1129ef220f4b7e0")
FENCING_FAILS = Event("78d8e930e084435fa316047c5eb5318c")
UNFENCED = Event("c205ca33e03d4562b1254f7947825ff3")
KEY_LEFT = Event("b87e40f7d9b6440f878d446da22aee0f")
