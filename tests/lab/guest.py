"""The lab's guest: Debian's cloud kernel, a few modules, busybox and guest/writer.c."""

import hashlib
import re
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

from tests.lab import debs

SOURCES = Path(__file__).parent / "guest"

# Where the hosts have what build() returns, and what a guest leaves there.
KERNEL = "/var/lib/kvmlun-lab/vmlinuz"
INITRD = "/var/lib/kvmlun-lab/initrd.img"
CONSOLE = "/var/log/lab/{name}.console"
COMMANDS = "/run/lab/{name}.cmd"

# Without cryptomgr.notests a boot takes a quarter longer.
# panic=0: the panic device reports, then libvirt's on_crash decides, not the guest.
CMDLINE = (
    "console=ttyS0,115200 quiet loglevel=3 mitigations=off cryptomgr.notests "
    "no_timer_check nowatchdog rcupdate.rcu_cpu_stall_suppress=1 panic=0"
)
MODULES = ("virtio_pci", "virtio_blk", "evdev", "button", "pvpanic-mmio")
DRIVER = {
    "name": "qemu",
    "type": "raw",
    "cache": "none",
    "io": "native",
    "discard": "unmap",
    "error_policy": "stop",
}


class Guest(NamedTuple):
    kernel: Path
    initrd: Path


class Disk(NamedTuple):
    """A LUN of a guest; a plain (source, target) or (source, target, driver) tuple does too."""

    source: str  # a path, or POOL/VOLUME
    target: str = "vda"
    driver: Mapping[str, str | None] = {}  # over DRIVER; None drops an option
    extra: str = ""  # more XML inside <disk>: "<shareable/>"


def build(cache: Path) -> Guest:
    """Return the guest's files, from the cache if nothing that goes into them has changed.

    Needs gcc with libc6-dev, and an apt that can download: run apt-get update before.
    """
    cache.mkdir(parents=True, exist_ok=True)
    packages = _candidates()
    final = cache / f"guest-{_digest(packages)}"
    if not final.exists():
        busybox, kernel, lz4 = (debs.unpacked(cache, package) for package in packages)
        with tempfile.TemporaryDirectory(dir=cache) as tmp:
            made = Path(tmp, "guest")
            made.mkdir()
            _write_kernel(kernel, lz4, made / "vmlinuz")
            _write_initrd(kernel, busybox, made / "initrd.img")
            debs.publish(made, final)
    return Guest(final / "vmlinuz", final / "initrd.img")


def cmdline(
    name: str,
    disks: Sequence[str] = ("vda",),
    *,
    pace_ms: int = 50,
    slots: int = 64,
    offset: int = 0,
) -> str:
    """Return the kernel command line; name marks the blocks, so keep it for the life of a LUN."""
    ring = f"ring={name} disks={','.join(disks)} pace={pace_ms} slots={slots} offset={offset}"
    return f"{CMDLINE} {ring}"


def domain_xml(
    name: str,
    uuid: str,
    disks: Sequence[Disk | tuple[str, str] | tuple[str, str, Mapping[str, str | None]]],
    *,
    metadata: str = "",
    ring: Sequence[str] | None = None,
    pace_ms: int = 50,
    offset: int = 0,
) -> str:
    """Return a definition that libvirt 9.0 and 11.3 can migrate to each other.

    ring: the targets that the guest writes to and waits for, all disks by default.
    """
    lun_disks = [Disk(*disk) for disk in disks]
    targets = [disk.target for disk in lun_disks] if ring is None else list(ring)
    return f"""\
<domain type='qemu'>
  <name>{escape(name)}</name>
  <uuid>{uuid}</uuid>
  <metadata>{metadata}</metadata>
  <memory unit='MiB'>96</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type>
    <kernel>{KERNEL}</kernel>
    <initrd>{INITRD}</initrd>
    <cmdline>{escape(cmdline(name, targets, pace_ms=pace_ms, offset=offset))}</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
{"".join(map(disk_xml, lun_disks))}\
    <serial type='file'>
      <source path={quoteattr(CONSOLE.format(name=name))} append='on'/>
      <target port='0'/>
    </serial>
    <serial type='unix'>
      <source mode='bind' path={quoteattr(COMMANDS.format(name=name))}/>
      <target port='1'/>
    </serial>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <panic model='isa'/>
  </devices>
</domain>
"""


def disk_xml(disk: Disk) -> str:
    """Return one <disk> element, as virsh attach-device takes it too."""
    options = {key: value for key, value in {**DRIVER, **disk.driver}.items() if value is not None}
    kind, source = "block", f"dev={quoteattr(disk.source)}"
    if not disk.source.startswith("/"):
        pool, _, volume = disk.source.partition("/")
        kind, source = "volume", f"pool={quoteattr(pool)} volume={quoteattr(volume)}"
    driver = "".join(f" {key}={quoteattr(value)}" for key, value in options.items())
    return f"""\
    <disk type='{kind}' device='disk'>
      <driver{driver}/>
      <source {source}/>
      <target dev={quoteattr(disk.target)} bus='virtio'/>
      {disk.extra}
    </disk>
"""


def command_argv(name: str, command: str) -> list[str]:
    """Return what to run on the guest's host: poweroff, reboot, panic, stop, go or go vda,vdb.

    It fails if the guest has not taken the command within 30 s, and does not wait for the effect.
    """
    # closing without waiting would drop what QEMU has not read yet
    script = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(30); "
        "s.connect(sys.argv[1]); s.sendall(sys.argv[2].encode() + b'\\n'); "
        "sys.exit(('ok ' + sys.argv[2]) not in s.makefile().readline())"
    )
    return ["python3", "-I", "-S", "-c", script, COMMANDS.format(name=name), command]


def _candidates() -> list[str]:
    """Return name=version of busybox, the kernel and lz4, in this order, as apt would take them."""
    names = ["linux-image-cloud-amd64", "busybox-static", "lz4"]
    shown = debs.run("apt-cache", "--no-all-versions", "show", *names)
    # the cloud package is empty and depends on the one with the kernel: name (= version)
    kernel = re.search(r"^Depends: (linux-image-\S+) \(= (\S+)\)", shown, re.MULTILINE)
    assert kernel, shown
    candidates = [f"{kernel[1]}={kernel[2]}"]
    for stanza in shown.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version): (.*)", stanza, re.MULTILINE))
        if fields.get("Package") in names[1:]:
            candidates.append(f"{fields['Package']}={fields['Version']}")
    return sorted(candidates)


def _digest(packages: Sequence[str]) -> str:
    hashed = hashlib.sha256(" ".join(packages).encode())
    for path in (Path(__file__), *sorted(SOURCES.iterdir())):
        hashed.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return hashed.hexdigest()[:16]


def _write_kernel(kernel: Path, lz4: Path, to: Path) -> None:
    """Take the ELF image out of the bzImage: QEMU boots it by PVH, a quarter faster under TCG."""
    (image,) = (kernel / "boot").glob("vmlinuz-*")
    data = image.read_bytes()
    setup_sectors = data[0x1F1]
    offset, length = struct.unpack_from("<II", data, 0x248)  # payload_offset, payload_length
    start = (setup_sectors + 1) * 512 + offset
    packed = to.with_suffix(".lz4")
    packed.write_bytes(data[start : start + length - 4])  # the payload ends with its unpacked size
    debs.run(lz4 / "usr/bin/lz4", "-q", "-d", packed, to)
    packed.unlink()


def _write_initrd(kernel: Path, busybox: Path, to: Path) -> None:
    """Write it uncompressed: smaller would be slower under TCG."""
    writer = to.with_name("writer")
    gcc = ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-Os", "-static", "-s"]
    debs.run(*gcc, "-o", writer, SOURCES / "writer.c")
    modules = dict(_modules(kernel, MODULES))
    order = "".join(f"{name}.ko\n" for name in modules)
    files = {
        "init": (SOURCES / "init").read_bytes(),
        "writer": writer.read_bytes(),
        "bin/busybox": (busybox / "bin/busybox").read_bytes(),
        "modules/order": order.encode(),
        **{f"modules/{name}.ko": path.read_bytes() for name, path in modules.items()},
    }
    writer.unlink()
    to.write_bytes(_cpio(["bin", "dev", "modules", "proc", "sys"], files))


def _modules(kernel: Path, names: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Yield modules, what they depend on first: the package has no modules.dep yet."""
    for name in names:
        pattern = re.sub("[-_]", "[-_]", name)
        (path,) = (kernel / "lib/modules").rglob(f"{pattern}.ko")  # built in: take it off MODULES
        found = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        if found and found[1]:
            yield from _modules(kernel, found[1].decode().split(","))
        yield path.stem, path


def _cpio(directories: Sequence[str], files: Mapping[str, bytes]) -> bytes:
    entries = [(name, 0o40755, b"") for name in directories]
    entries += [(name, 0o100755, data) for name, data in files.items()]
    archive = bytearray()
    for inode, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], start=1):
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        archive += b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        archive += bytes(-len(archive) % 4) + data
        archive += bytes(-len(archive) % 4)
    return bytes(archive)
