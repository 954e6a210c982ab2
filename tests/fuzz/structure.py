"""Inputs that have the form of the real thing, with anything at each place where a text stands."""

import json
import struct
from collections.abc import Iterable
from xml.sax.saxutils import quoteattr

from hypothesis import strategies as st

from tests.fuzz import seeds
from tests.fuzz.parsers import UUID, WWID

_GOOD = st.sampled_from(
    [str(WWID), WWID.link, seeds.TARGET, seeds.BY_PATH, "10.77.1.1", "3260", "0", "16383", "vda"]
)
_HOSTILE = st.sampled_from([text.decode(errors="replace") for text in seeds.HOSTILE])
_TEXT = _GOOD | _HOSTILE | st.text(max_size=20)
# Half of a surrogate pair, which neither D-Bus nor UTF-8 has.
_VALID = st.characters(blacklist_categories=["Cs"])


def _attributes(names: Iterable[str]) -> st.SearchStrategy[str]:
    values = {name: _TEXT | st.text(_VALID, max_size=9) for name in names}
    return st.fixed_dictionaries(values).map(
        lambda chosen: "".join(f" {name}={quoteattr(text)}" for name, text in chosen.items())
    )


def _element(name: str, names: Iterable[str], *inside: st.SearchStrategy[str]):
    return st.tuples(_attributes(names), *inside).map(
        lambda parts: f"<{name}{parts[0]}>{''.join(parts[1:])}</{name}>"
    )


def _many(element: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(element, max_size=3).map("".join)


def _bytes(text: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    return text.map(lambda each: each.encode(errors="replace"))


_PORTAL = _element("kvmlun:portal", ["address", "port"])
_MARKED = _many(
    _element("kvmlun:disk", ["wwid", "target", "lun", "size", "overlay"], _many(_PORTAL))
)
_SOURCE = _element("source", ["dev", "pool", "volume"])
_DISK = _element(
    "disk", ["type"], _element("driver", ["type", "cache"]), _many(_SOURCE),
    _element("backingStore", [], _many(_SOURCE)), _element("target", ["dev"]),
)  # fmt: skip
_DOMAIN = st.tuples(_MARKED, _many(_DISK)).map(
    lambda parts: (
        f"<domain><name>vm1</name><uuid>{UUID}</uuid><metadata><kvmlun:domain "
        f"xmlns:kvmlun='https://kvmlun.github.io/ns/domain/1' version='1' uuid='{UUID}'>{parts[0]}"
        f"</kvmlun:domain></metadata><devices>{parts[1]}</devices></domain>"
    )
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(_VALID, max_size=9) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_VOLUME = st.fixed_dictionaries(
    {
        "wwid": st.just(str(WWID)) | _TEXT | _JSON,
        "target": st.just(seeds.TARGET) | _TEXT | _JSON,
        "portals": st.lists(st.just("10.0.0.1") | _TEXT, max_size=2) | _JSON,
    },
    optional={
        "lun": st.integers(-1, 20000) | _JSON,
        "ifaces": st.lists(_TEXT, max_size=2) | _JSON,
        "min_paths": st.integers(0, 3) | st.floats() | _JSON,
        "secret": _TEXT | _JSON,
    },
)
_SETTINGS = st.dictionaries(
    st.sampled_from(["grace", "login", "login_attempts", "prepare", "retry_autostart", "audit"]),
    st.integers() | st.floats() | st.booleans() | _JSON,
)
_FILE = st.fixed_dictionaries(
    {}, optional={"settings": _SETTINGS, "volumes": st.dictionaries(_TEXT, _VOLUME, max_size=2)}
)
_HEADER = st.fixed_dictionaries(
    {
        "v": st.just(1) | _JSON,
        "op": st.sampled_from(["prepare", "start", "migrate", "restore", "release", "x"]),
        "subop": _TEXT,
        "extra": _TEXT,
        "name": _TEXT | st.text(max_size=9),
        "boottime": st.floats() | st.integers() | _JSON,
        "deadline": st.floats() | st.integers() | _JSON,
    }
)
_DESIGNATOR = st.tuples(
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(0, 20),
    st.binary(max_size=20) | _TEXT.map(lambda text: text.encode(errors="replace")[:20]),
).map(lambda d: bytes((d[0], d[1], 0, d[2])) + d[3])


def _call(header: dict[str, object], xml: str) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack(">I", len(text)) + text + xml.encode(errors="replace")


def _page(designators: list[bytes]) -> bytes:
    body = b"".join(designators)
    return b"\0\x83" + len(body).to_bytes(2, "big") + body


# JSON is YAML as well.
STRUCTURED: dict[str, st.SearchStrategy[bytes]] = {
    "hook": _bytes(_DOMAIN.map(lambda xml: f"prepare\0vm1\0{xml}".replace('"', "'"))),
    "domain": _bytes(_DOMAIN),
    "metadata": _bytes(_MARKED),
    "yaml": _bytes(_FILE.map(lambda value: json.dumps(value, ensure_ascii=False))),
    "socket": st.builds(_call, _HEADER, _DOMAIN),
    "dbus": _bytes(
        st.tuples(st.just("vm1") | _TEXT, _VOLUME, _TEXT, st.integers(), _TEXT).map(json.dumps)
    ),
    "vpd": st.lists(_DESIGNATOR, max_size=4).map(_page),
    "state-files": _bytes(
        st.tuples(st.sampled_from("lom"), _JSON).map(lambda two: two[0] + json.dumps(two[1]))
    ),
}


def pieces(name: str) -> st.SearchStrategy[bytes]:
    """Return pieces of good inputs of a parser, hostile texts and anything else, in any order."""
    parts = [part for seed in seeds.SEEDS[name] for part in _cut(seed)]
    piece = st.sampled_from(parts) | st.sampled_from(seeds.HOSTILE) | st.binary(max_size=8)
    return st.lists(piece, max_size=12).map(b"".join)


def _cut(seed: bytes) -> list[bytes]:
    third = max(1, len(seed) // 3)
    return [seed[i : i + third] for i in range(0, len(seed), third)] + [seed]
