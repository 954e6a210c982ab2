"""libvirt domain XML: the block disks in it and kvmlun's own metadata. Pure.

Standard library only, because the hook uses it before any daemon is asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from . import errors
from .hookproto import MAX_XML
from .links import BY_ID, BY_PATH
from .lun import Lun, LunAddress, Portal, Wwid, parse_lun, parse_target

NAMESPACE = "https://kvmlun.github.io/ns/domain/1"
PREFIX = "kvmlun"
VERSION = 1
OVERLAY = "qcow2"  # what an external snapshot makes
VolumeLink = Callable[[str, str], str | None]
# Far above any real definition; they bound what metadata, which others may write, can cost.
_MAX_LUNS, _MAX_PORTALS = 1000, 64
_KEY = re.compile(r"0x[0-9a-f]{16}")
# libvirt's formatdomain: what names the source of a disk, by the disk's type.
_SOURCES = ("file", "dev", "dir", "name", "volume", "path")
_LETTERS = re.compile(r"[A-Za-z]{1,4}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Disk:
    """One ``<disk>``; `links` are all its by-id and by-path sources, the active one first.

    Backing files and the target of a running block job count as sources, since
    QEMU has them open as well. `below` are those that are backing files of a file.
    """

    target: str
    links: tuple[str, ...]
    read_only: bool
    shareable: bool
    cache: str = ""
    below: tuple[str, ...] = ()
    passthrough: bool = False  # device='lun': the guest's own SCSI commands reach the LUN

    @property
    def alone(self) -> bool:
        """Whether its LUN may be reserved for the domain.

        Several hosts write to a shareable disk, and a guest with its own SCSI commands may reserve.
        """
        return not (self.read_only or self.shareable or self.passthrough)

    @property
    def movable(self) -> bool:
        """Whether the destination of a migration can't see stale data of it.

        The rule is that of libvirt before QEMU could drop its cache
        (qemuMigrationSrcIsSafe): no cache of the host in between.
        """
        return self.read_only or self.shareable or self.cache in ("none", "directsync")


@dataclass(frozen=True)
class Domain:
    """What kvmlun needs of a domain definition; `luns` is what our metadata tells.

    `overlays` is true where a disk is a file with a format that may have a LUN
    below it, which only the metadata tells while the domain does not run.
    """

    uuid: str
    name: str
    disks: tuple[Disk, ...]
    luns: tuple[Lun, ...]
    overlays: bool
    others: tuple[tuple[str, str], ...] = ()  # target and source of every other disk

    @property
    def links(self) -> tuple[str, ...]:
        return tuple(link for disk in self.disks for link in disk.links)


def parse(
    xml: bytes, with_metadata: bool = True, volume_link: VolumeLink = lambda *_: None
) -> Domain:
    """Parse a domain definition; raises errors.Invalid.

    Without `with_metadata` only the disks count, whatever our element says. `volume_link` tells
    the link of a storage pool's volume, None for one that is not iSCSI's.
    """
    root = tree(xml)
    if root.tag != "domain":
        raise errors.Invalid(f"<domain> expected, not <{root.tag[:40]}>")
    # State files are named by it.
    uuid = root.findtext("uuid", "").strip().lower()
    if not _UUID.fullmatch(uuid):
        raise errors.Invalid(f"{uuid[:80]!r} is no domain UUID")
    element = root.find(f"metadata/{{{NAMESPACE}}}domain")
    ours = with_metadata and element is not None and element.get("uuid", "").lower() == uuid
    disks = tuple(_disks(root, volume_link))
    return Domain(
        uuid=uuid,
        name=errors.one_line(root.findtext("name", "")),
        disks=disks,
        luns=tuple(_luns(element)) if ours and element is not None else (),
        overlays=any(
            disk.get("type") == "file" and driver.get("type") == OVERLAY
            for disk in root.iterfind("devices/disk")
            for driver in disk.iterfind("driver")
        ),
        others=tuple(_others(root, {disk.target for disk in disks})),
    )


def tree(xml: bytes) -> ElementTree.Element:
    """Parse XML that libvirt wrote; raises errors.Invalid.

    Entities that grow without end are refused by expat itself (billion laughs), from 2.4.1 on.
    """
    if len(xml) > MAX_XML:
        raise errors.Invalid("the XML is larger than 16 MiB")
    try:
        return ElementTree.fromstring(xml)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        # The latter two for an encoding that is not one of XML's.
        raise errors.Invalid(f"the XML is malformed: {error}") from error


def _disks(root: ElementTree.Element, volume_link: VolumeLink) -> Iterator[Disk]:
    for disk in root.iterfind("devices/disk"):
        sources = (_source(source, volume_link) for source in disk.iter("source"))
        links = tuple(dict.fromkeys(s for s in sources if s.startswith((BY_ID, BY_PATH))))
        if not links:
            continue
        driver = disk.find("driver")
        yield Disk(
            target=_target(disk),
            links=links,
            read_only=disk.find("readonly") is not None,
            shareable=disk.find("shareable") is not None,
            cache=driver.get("cache", "") if driver is not None else "",
            below=tuple(
                source.get("dev", "")
                for backing in disk.iterfind("backingStore")
                for source in backing.iter("source")
                if disk.get("type") == "file"
            ),
            passthrough=disk.get("device") == "lun",
        )


def _others(root: ElementTree.Element, ours: Container[str]) -> Iterator[tuple[str, str]]:
    for disk in root.iterfind("devices/disk"):
        source = disk.find("source")
        told = (source.get(name) for name in _SOURCES) if source is not None else iter(())
        if _target(disk) not in ours:
            yield _target(disk), errors.one_line(next(filter(None, told), ""))


def _target(disk: ElementTree.Element) -> str:
    target = disk.find("target")
    return errors.one_line(target.get("dev", "?")) if target is not None else "?"


def _source(source: ElementTree.Element, volume_link: VolumeLink) -> str:
    """Return a source's path; a volume in mode direct is QEMU's own business (libiscsi)."""
    pool, volume = source.get("pool"), source.get("volume")
    if pool and volume and source.get("mode", "host") == "host":
        return volume_link(pool, volume) or ""
    return source.get("dev", "")


def _luns(element: ElementTree.Element) -> Iterator[Lun]:
    version = element.get("version", "")
    if version != str(VERSION):
        raise errors.Invalid(
            f"kvmlun metadata has version {version[:20]!r}, this host reads {VERSION}; "
            "upgrade kvmlun here"
        )
    disks = element.findall(f"{{{NAMESPACE}}}disk")
    if len(disks) > _MAX_LUNS:
        raise errors.Invalid(f"kvmlun metadata has more than {_MAX_LUNS} disks")
    for disk in disks:
        size = disk.get("size", "")
        if not (size.isascii() and size.isdigit() and len(size) < 20):
            raise errors.Invalid(f"kvmlun metadata has a disk of size {size[:40]!r}")
        portals = tuple(
            Portal.make(p.get("address", ""), p.get("port", ""), p.get("address", ""))
            for p in disk.iterfind(f"{{{NAMESPACE}}}portal")
        )
        if not portals:
            raise errors.Invalid("kvmlun metadata has a disk without a portal")
        if len(portals) > _MAX_PORTALS:
            raise errors.Invalid(f"kvmlun metadata has a disk of more than {_MAX_PORTALS} portals")
        yield Lun(
            wwid=Wwid.parse(disk.get("wwid", "")),
            address=LunAddress(
                parse_target(disk.get("target", "")), parse_lun(disk.get("lun", ""))
            ),
            portals=portals,
            size=int(size) or None,
            overlay=disk.get("overlay") == "yes",
            fencing=True if disk.get("fencing") == "yes" else None,
            key=int(key, 16) if _KEY.fullmatch(key := disk.get("key", "")) else None,
        )


def metadata(uuid: str, luns: Iterable[Lun]) -> str:
    """Return our metadata element for a domain, without a namespace declaration.

    libvirt adds the declaration itself (virDomainSetMetadata).
    """
    root = ElementTree.Element("domain", version=str(VERSION), uuid=uuid)
    for lun in luns:
        disk = ElementTree.SubElement(
            root,
            "disk",
            wwid=str(lun.wwid),
            target=lun.address.target,
            lun=str(lun.address.lun),
            size=str(lun.size or 0),
        )
        if lun.overlay:
            disk.set("overlay", "yes")
        if lun.fencing:
            disk.set("fencing", "yes")
        if lun.key:
            disk.set("key", f"0x{lun.key:016x}")
        for portal in lun.portals:
            ElementTree.SubElement(disk, "portal", address=portal.host, port=str(portal.port))
    return ElementTree.tostring(root, encoding="unicode")


@dataclass(frozen=True)
class Sectors:
    """What a LUN says of itself: logical and physical block size in bytes, thin provisioning."""

    logical: int
    physical: int
    thin: bool


def disk_xml(link: str, target: str, sectors: Sectors | None = None, explain: bool = False) -> str:
    """Return the ``<disk>`` element that suits a raw LUN, explained in comments if asked for.

    QEMU finds out no block size of a LUN by itself and shows the guest 512 bytes
    (block/file-posix.c, hdev_probe_blocksizes, knows DASD only).
    """
    disk = ElementTree.Element("disk", type="block", device="disk")

    def why(text: str) -> None:
        if explain:
            disk.append(ElementTree.Comment(f" {text} "))

    why("type=block, raw: the LUN itself, with no file system or format of the host in between")
    why("cache=none: what the guest has flushed is on the LUN; a migration is not safe without")
    why("io=native: Linux AIO, the shortest way to a block device that has no cache in front")
    if sectors:
        thin = "gives that space back" if sectors.thin else "is not thin and may ignore it"
        why(f"discard=unmap: the array learns what the guest trims (it {thin})")
    else:
        why("discard=unmap: the array learns what the guest trims")
    why("error_policy=stop: a guest whose storage is gone pauses instead of seeing I/O errors")
    ElementTree.SubElement(
        disk, "driver", name="qemu", type="raw", cache="none", io="native",
        discard="unmap", error_policy="stop", rerror_policy="stop",
    )  # fmt: skip
    why("by WWID: the same name on every host, wherever the LUN is and whatever its device")
    ElementTree.SubElement(disk, "source", dev=link)
    ElementTree.SubElement(disk, "target", dev=target, bus=_bus(target))
    if sectors is None:
        why("block size: not known here, so the guest sees 512 bytes; run this where the LUN is")
    elif (sectors.logical, sectors.physical) != (512, 512):
        why("blockio: the LUN's own; a smaller write than that would be read, changed and written")
        ElementTree.SubElement(
            disk, "blockio",
            logical_block_size=str(sectors.logical), physical_block_size=str(sectors.physical),
        )  # fmt: skip
    ElementTree.indent(disk)
    return ElementTree.tostring(disk, encoding="unicode") + "\n"


def _bus(target: str) -> str:
    for prefix, bus in (("vd", "virtio"), ("sd", "scsi"), ("hd", "ide")):
        if target.startswith(prefix) and _LETTERS.fullmatch(target[2:]):
            return bus
    raise errors.Invalid(f"{target[:80]!r} is no disk target; use vda, vdb, … or sda, sdb, …")
