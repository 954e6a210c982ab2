"""What must hold of each parser, whatever bytes it is given.

A check raises nothing where the parser refuses by one of our errors, whose text is one printable
line, or gives a value that is safe wherever it goes: in a path, an argument, a line of a log.
"""

import asyncio
import contextlib
import ctypes
import dataclasses
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from kvmlun import (
    catalog,
    commands,
    config,
    connections,
    discover,
    domxml,
    errors,
    hook,
    hookproto,
    inventory,
    iscsi,
    libiscsi,
    links,
    loginprobe,
    metrics,
    nodedb,
    pools,
    schema,
    secrets,
    status,
    sysfs,
    vpd,
    yamlfile,
)
from kvmlun.bus import values
from kvmlun.hookserver import Header, HookServer
from kvmlun.leases import Leases
from kvmlun.ledger import Ledger
from kvmlun.lun import (
    Lun,
    LunAddress,
    Portal,
    Wwid,
    id_path,
    parse_by_path,
    parse_lun,
    parse_target,
)
from kvmlun.markers import Markers
from kvmlun.metricsserver import MetricsServer
from kvmlun.ours import Sources
from kvmlun.request import Request
from kvmlun.tally import Tally
from kvmlun.wait import Deadline

UUID = "3c1b0f5e-0000-4000-8000-000000000001"
WWID = Wwid.parse("naa.60014051111111111111111111111111")
_TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,222}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,63}")
_HOST = re.compile(r"[0-9a-f:.]{2,39}")
_IDENTITY = re.compile(r"(naa|eui)\.[0-9a-f]{16,32}|t10\.[\x20-\x7e]{1,254}")
_NO_SECRET = re.compile(
    r"(:[0-9]+)?: (is no text|is none of [a-z_, ]+ with = and a value|(username|password)(_in)?: "
    r"(is given twice|must be 1 to 255 bytes that can be printed)|[a-z_]+ and [a-z_]+ "
    r"(belong together|must not be the same))"
)
_NO_CATALOG = config.Config(config.Settings(), {})

Check = Callable[[bytes, Path], None]


@dataclasses.dataclass(frozen=True)
class Parser:
    """What parses `input`, and the check of what it gives for some bytes."""

    input: str
    check: Check


PARSERS: dict[str, Parser] = {}


def _parser(name: str, what: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        PARSERS[name] = Parser(what, check)
        return check

    return register


@contextlib.contextmanager
def place(folder: Path) -> Iterator[None]:
    """Have the hook look at files below `folder`: a catalog of one WWID, a pool, no bypass."""
    (folder / "wwids").write_text(f"{WWID}\n")
    (folder / "bypass").mkdir()
    (folder / "bypass" / "other").touch()
    values = {"WWIDS": str(folder / "wwids"), "POOLS": (str(folder),)}
    bypass = mock.patch.object(hookproto, "BYPASS", str(folder / "bypass"))
    with mock.patch.multiple(hook, **values), bypass:
        yield


def line(text: str) -> None:
    """Check what an operator or a log gets of an error."""
    assert text and text.isprintable() and len(text) <= errors.LONGEST, text


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except errors.Error as error:
        line(str(error))


def _lun(lun: Lun) -> None:
    """Check that every text of a LUN is safe, and that its names lead back to it."""
    target, number = lun.address.target, lun.address.lun
    assert _TARGET.fullmatch(target) and 0 <= number < 0x4000
    if lun.wwid:
        _wwid(lun.wwid)
    for portal in lun.portals:
        _portal(portal)
    for portal in lun.portals[:1]:
        path = id_path(portal, target, lun.address.kernel_luns[-1])
        assert "/" not in path and path.isprintable() and len(path) < 300
        spelled = parse_by_path(f"{links.BY_PATH}{path}")
        assert spelled and spelled.address == lun.address and portal.serves(spelled.portals[0])
    assert type(lun.min_paths) is int


def _portal(portal: Portal) -> None:
    assert _HOST.fullmatch(portal.host) and 0 < portal.port < 65536
    assert portal.iface == "" or _NAME.fullmatch(portal.iface)
    assert Portal.parse(portal.address) == dataclasses.replace(portal, iface="")


def _wwid(wwid: Wwid) -> None:
    assert _IDENTITY.fullmatch(str(wwid)) and Wwid.parse(str(wwid)) == wwid
    if not str(wwid).startswith("t10."):
        assert Wwid.from_link(wwid.link) == wwid


@_parser("hook", "the hook's argv and XML")
def _hook(data: bytes, folder: Path) -> None:
    """Operation, name and XML, with a NUL after the first two."""
    operation, _, rest = data.partition(b"\0")
    name, _, xml = rest.partition(b"\0")
    texts = (os.fsdecode(operation), "begin", "-", os.fsdecode(name))
    header = Header(1, *texts, boottime=1.5, deadline=45.0)
    frame = hook._frame(vars(header))
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert Header.parse(frame[4:]) == header
    assert not hook._bypassed(xml, header.name)
    if hook.concerns(xml):
        return
    with _refusing():
        for link in domxml.parse(xml).links:
            # Where it stands as libvirt writes it, which has no quote of the other kind in it.
            plain = '"' not in link and f"'{link}'".encode() in xml
            assert links.judge(link) != links.OURS or not plain


@_parser("links", "names of by-id and by-path links")
def _links(data: bytes, folder: Path) -> None:
    name = os.fsdecode(data)
    for link in (links.BY_ID + name, links.BY_PATH + name):
        assert links.judge(link) in (links.OURS, links.LOCAL, links.UNSEEN)
        if wwid := Wwid.from_link(link):
            _wwid(wwid)
        inventory.spelled(link)
        with _refusing():
            if lun := parse_by_path(link):
                _lun(lun)


@_parser("addresses", "WWID, portal, target name and LUN as text")
def _addresses(data: bytes, folder: Path) -> None:
    text = os.fsdecode(data)
    with _refusing():
        _wwid(Wwid.parse(text))
    with _refusing():
        _portal(Portal.parse(text))
    with _refusing():
        assert _TARGET.fullmatch(parse_target(text))
    with _refusing():
        assert 0 <= parse_lun(text) < 0x4000


@_parser("domain", "domain XML")
def _domain(data: bytes, folder: Path) -> None:
    with _refusing():
        try:
            _of_domain(domxml.parse(data, volume_link=pools.volume_link))
        except errors.Invalid as error:
            line(str(error))
            # What libvirt lists counts all the same, without what our element says.
            assert domxml.parse(data, with_metadata=False).luns == ()


@_parser("metadata", "our metadata element")
def _metadata(data: bytes, folder: Path) -> None:
    """What is inside our element."""
    with _refusing():
        _of_domain(domxml.parse(_with_metadata(data)))


def _with_metadata(inside: bytes, attributes: bytes = b"version='1'") -> bytes:
    return b"".join((
        b"<domain><uuid>", UUID.encode(), b"</uuid><metadata><kvmlun:domain xmlns:kvmlun='",
        domxml.NAMESPACE.encode(), b"' ", attributes, b" uuid='", UUID.encode(), b"'>",
        inside, b"</kvmlun:domain></metadata></domain>",
    ))  # fmt: skip


def _of_domain(domain: domxml.Domain) -> None:
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", domain.uuid)
    assert domain.name.isprintable()
    for disk in domain.disks:
        assert disk.target.isprintable()
    for link in domain.links:
        assert link.startswith((links.BY_ID, links.BY_PATH))
        inventory.spelled(link)
    for lun in domain.luns:
        _lun(lun)
    stored = domxml.metadata(domain.uuid, domain.luns).replace(
        "<domain", f"<domain xmlns='{domxml.NAMESPACE}'", 1
    )
    again = domxml.parse(
        f"<domain><uuid>{domain.uuid}</uuid><metadata>{stored}</metadata></domain>".encode()
    )
    assert again.luns == domain.luns
    nowhere = Sources(
        lambda _: None, lambda _: None, lambda _: None, lambda _: True, lambda _, told: bool(told)
    )
    for disk, link, lun in nowhere.luns(domain):
        request = Request(lun, link, disk.read_only, disk.shareable, domain.uuid)
        assert request.need.text


@_parser("yaml", "files in /etc/kvmlun")
def _yaml(data: bytes, folder: Path) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    with _refusing():
        _file(yamlfile.parse(text, Path("/etc/kvmlun/kvmlun.yaml")))


def _file(root: yamlfile.Node) -> dict[str, Lun]:
    """Check what comes of a configuration file; return its volumes."""
    problems = schema.problems(root)
    for problem in problems:
        line(str(problem))
    if problems:
        return {}
    if settings := root.members().get("settings"):
        read = config._settings(settings, in_main=True)
        assert all(v.isdigit() for k, v in read.node_record().items() if k != "node.startup"
                   and k != "node.session.scan")  # fmt: skip
    volumes: dict[str, Lun] = {}
    for name, node in root.members("volumes").items():
        lun = config._volume(name, node, volumes)
        assert _NAME.fullmatch(name) and ":" not in name
        assert lun.secret is None or _NAME.fullmatch(lun.secret)
        _lun(lun)
        volumes[name] = lun
    for shown in status.volumes(volumes.values()):
        values.variants(shown)
    return volumes


@_parser("socket", "what hooks send to kvmlund")
def _socket(data: bytes, folder: Path) -> None:
    async def call() -> dict[str, Any]:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return await HookServer(_Hooks(), Tally())._reply(reader)  # type: ignore[arg-type]

    reply = _run(call())
    if not reply["ok"]:
        line(reply["line"])
        assert "internal error" not in reply["line"], reply
    assert json.dumps(reply).encode()


class _Hooks:
    """Takes every call, as far as it needs no storage."""

    def limit(self, _operation: str) -> float:
        return 45.0

    async def prepare(self, domain: domxml.Domain, began: float, deadline: Deadline) -> None:
        assert began - 1.0 < began + 1.0 and 0 <= deadline.left < 1e9
        _of_domain(domain)

    async def verify(self, domain: domxml.Domain, deadline: Deadline) -> None:
        await self.prepare(domain, 0, deadline)

    def check(self, domain: domxml.Domain) -> None:
        _of_domain(domain)

    def release(self, domain: domxml.Domain, asked: float) -> None:
        assert asked - 1.0 < asked + 1.0

    check_incoming = check_restored = check

    async def started(self, domain: domxml.Domain, asked: bool, deadline: Deadline) -> None:
        await self.verify(domain, deadline)

    def noted(self) -> None:
        pass


@_parser("scrape", "what is sent to where metrics are served")
def _scrape(data: bytes, folder: Path) -> None:
    """Its end is the end of a head, without which nothing is answered."""

    def exposition(accept: str) -> tuple[str, bytes]:
        return metrics.exposition([], accept)

    async def call() -> bytes:
        reader = asyncio.StreamReader(limit=8192)
        reader.feed_data(data + b"\r\n\r\n")
        reader.feed_eof()
        return await MetricsServer(exposition)._answer(reader)

    head, _, body = _run(call()).partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1.1 (200 OK|40[045] )", head), head
    assert body in (b"", b"# EOF\n")


_loop: list[asyncio.AbstractEventLoop] = []


def _run(call: Any) -> Any:
    """Run a coroutine in one loop for all cases, since making a loop takes longer than a case."""
    if not _loop:
        _loop.append(asyncio.new_event_loop())
    return _loop[0].run_until_complete(call)


@_parser("dbus", "arguments on D-Bus")
def _dbus(data: bytes, folder: Path) -> None:
    """A JSON array of volume's name, volume, owner, ttl and disk target."""
    try:
        name, volume, owner, _, target = json.loads(data)
    except (ValueError, TypeError, RecursionError):
        return
    texts = (name, owner, target)
    # The rest is what D-Bus itself refuses: text with half of a surrogate pair, other signatures.
    if not (isinstance(volume, dict) and all(isinstance(t, str) for t in texts)) or "\\u" in ascii(
        [t for t in (*texts, *volume) if any("\ud800" <= c <= "\udfff" for c in t)]
    ):
        return
    file = Path("/etc/kvmlun/volumes.d/x.yaml")
    with _refusing():
        text = catalog.entry(name, volume)
        config.check(_NO_CATALOG, file, text)
        (added,) = _file(yamlfile.parse(text, file)).values()
        assert added.wwid == Wwid.parse(volume["wwid"])
        assert added.address.target == volume["target"]
    with _refusing():
        key, shown = connections._identity(name, owner)
        assert len(key) == 36 and shown.isprintable()
    with _refusing():
        xml = domxml.disk_xml(WWID.link, target)
        assert domxml.parse(_in_domain(xml.encode())).disks[0].target == target
    with _refusing():
        _NO_CATALOG.volume(name)


def _in_domain(disk: bytes) -> bytes:
    return b"<domain><uuid>" + UUID.encode() + b"</uuid><devices>" + disk + b"</devices></domain>"


@_parser("iscsiadm", "what iscsiadm prints")
def _iscsiadm(data: bytes, folder: Path) -> None:
    """An exit code, then what it wrote to stderr."""
    code, text = data[0] if data else 0, data[1:].decode(errors="replace")
    with _refusing():
        result = commands.Result(code, text, errors.one_line(text))
        assert "\n" not in result.err
        iscsi._check(result, f"log out of session {code}", ())


@_parser("open-iscsi-files", "node and iface records, iscsid.conf, initiator name")
def _records(data: bytes, folder: Path) -> None:
    file = folder / "ifaces" / "data"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data)
    nodedb.is_ours(file)
    settings = {**nodedb._defaults(file), **nodedb.binding("data", folder)}
    assert settings["iface.iscsi_ifacename"] == "data"
    for name, value in settings.items():
        assert name.startswith(("node.", "iface."))
        assert not {"\n", "\r"} & set(name + value)
        f"{name} = {value}\n".encode()
    name = loginprobe.initiator(file)
    assert not {"\n", "\r"} & set(name)
    assert loginprobe.request(name, "iqn.2026-11.com.example:vm1")


@_parser("login-answers", "login responses")
def _login(data: bytes, folder: Path) -> None:
    header, text = data[:48].ljust(48, b"\0"), data[48:]
    assert loginprobe.meaning(header, text).isprintable()
    tag = loginprobe.portal_group(header, text)
    assert tag is None or 0 <= tag < 0x10000


@_parser("discovery", "targets and portals of a discovery")
def _discovery(data: bytes, folder: Path) -> None:
    """Lines of a target and its portals, and the identities of a VPD page behind them."""
    offers, _, page = data.partition(b"\n\n")
    found = {}
    for offer in offers.split(b"\n"):
        name, *addresses = offer.split(b"\t")
        with _refusing():
            target, portals = libiscsi._offered(name, addresses)
            found[target] = portals or (Portal("10.0.0.1"),)
    for target, portals in found.items():
        _lun(Lun(None, LunAddress(target, 0), portals))
    with _refusing():
        sectors = domxml.Sectors(512, 4096, True)
        for wwid in vpd.identities(page):
            unit = libiscsi.FoundLun(1, str(wwid), 1 << 30, sectors)
            for target, portals in found.items():
                made = discover._proposal(unit, target, portals, _NO_CATALOG, f"{target}-1")
                assert _NAME.fullmatch(made.name) and made.volume["wwid"] == str(wwid)


@_parser("vpd", "VPD pages")
def _vpd(data: bytes, folder: Path) -> None:
    with _refusing():
        found = vpd.identities(data)
        assert len(found) <= len(data)
        for wwid in found:
            _wwid(wwid)
        if data[1:2] == b"\x83":
            assert set(vpd.identities(libiscsi._page(_unmarshalled(data)))) == set(found)


def _unmarshalled(page: bytes) -> libiscsi._Identification:
    """Return what libiscsi makes of a page (scsi-lowlevel.c, scsi_inquiry_datain_unmarshall)."""
    rest, first = page[4 : 4 + int.from_bytes(page[2:4], "big")], None
    made = []
    while len(rest) >= 4:
        length = rest[3]
        body = rest[4 : 4 + length]
        if len(body) == length:
            made.append(
                libiscsi._Designator(
                    None,
                    rest[0] >> 4,
                    rest[0] & 0xF,
                    rest[1] >> 7,
                    rest[1] >> 4 & 3,
                    rest[1] & 0xF,
                    length,
                    ctypes.create_string_buffer(body, length),
                )
            )
        rest = rest[4 + length :]
    for designator in reversed(made):
        designator.next = ctypes.pointer(first) if first else None
        first = designator
    pointer = ctypes.pointer(first) if first else None
    return libiscsi._Identification(0, 0, 0x83, pointer)


@_parser("secrets", "files with a secret")
def _secrets(data: bytes, folder: Path) -> None:
    file = folder / "secret"
    with open(file, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as opened:
        opened.write(data)
    try:
        chap = secrets.load("secret", folder)
    except errors.Config as error:
        line(str(error))
        assert _NO_SECRET.fullmatch(str(error).removeprefix(str(file)))
        return
    values = [chap.username, chap.password, chap.username_in, chap.password_in]
    for value in values:
        assert value.isprintable() and len(value.encode()) < 256 and value == value.strip()
    assert chap.username and chap.password and chap.password != chap.password_in
    assert repr(chap) == f"Chap(username={chap.username!r})"


@_parser("pools", "libvirt's storage pools")
def _pools(data: bytes, folder: Path) -> None:
    """A volume's name and a line feed, then the file that libvirt has for its pool."""
    volume, _, text = data.partition(b"\n")
    (folder / "pool.xml").write_bytes(text)
    hook._is_iscsi_pool(os.fsdecode(volume))
    hook._is_iscsi_pool("pool")
    pool = pools.find("pool", (folder,))
    if pool is None:
        return
    for portals in ((), (Portal("10.0.0.1"),)):
        if link := pool.link(volume.decode(errors="replace"), portals):
            assert link.startswith(links.BY_PATH)
            with _refusing():
                if lun := parse_by_path(link):
                    _lun(lun)


@_parser("state-files", "leases, ledger and marks")
def _state(data: bytes, folder: Path) -> None:
    """Which kind of file, then what is in it."""
    kind, text = data[:1], data[1:]
    state = folder / "state"
    state.mkdir(exist_ok=True)
    (state / "x.json").write_bytes(text)
    if kind == b"l":
        for lease in Leases(state).all:
            assert isinstance(lease.uuid + lease.name, str)
            assert isinstance(lease.began, int | float)
            for need in lease.needs:
                assert need.text and need.same(need)
    elif kind == b"o":
        for entry in Ledger(state, "boot").entries:
            assert entry.key[1].address and isinstance(entry.sid, int)
    else:
        marks = Markers(state, folder / "none", folder / "none", state)
        assert all(marks.scanned(name) in (True, False) for name in marks.all)
        assert all(marks.made(uuid) in (True, False) for uuid in marks.maps)


@_parser("sysfs", "texts in sysfs")
def _sysfs(data: bytes, folder: Path) -> None:
    """The texts that come from elsewhere, with a NUL between; the numbers are the kernel's own."""
    texts = itertools.cycle([t.decode(errors="replace").strip() for t in data.split(b"\0")])
    tree = {"connection1:0": "iscsi_connection", "iscsi_connection": "connection1:0",
            "target2:0:0": "2:0:0:1", "2:0:0:1": "block", "block": "sda"}  # fmt: skip

    numbers = {"persistent_port": "3260", "dev": "8:0", "size": "131072", "ro": "0"}

    def read(path: str) -> str:
        return numbers.get(os.path.basename(path)) or next(texts)

    def names(path: str) -> list[str]:
        last = os.path.basename(path)
        return [tree[last]] if last in tree else ["connection1:0", "target2:0:0"]

    with (
        mock.patch.object(sysfs, "read", read),
        mock.patch.object(sysfs, "_names", names),
    ):
        session = sysfs._session("/sys/class/iscsi_session/session1")
    for disk in session.disks if session else ():
        assert session and disk.size >= 0
        session.id_path(disk)
        assert inventory.lun_of_link("/dev/sda", (session,)) is None or disk.wwid
