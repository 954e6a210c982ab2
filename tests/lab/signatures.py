"""What guests have on their disks: one LUN for each signature that a host would act on."""

import dataclasses
import shlex
from collections.abc import Sequence

from tests.lab import own, san, stage

# The first LUN's guest writes here, behind the signature.
OFFSET, RING = 16 << 20, 4 << 20
SIZE = 20 << 20

_PARTITION = "start=2048,size=16384,type=L"
_LOOP = 'dev=$(losetup -f --show "$f") && {} && losetup -d "$dev"'
_EXT4 = 'mke2fs -q -F -t ext4 -L {label} -U {uuid} {more} "$f"'

# What makes each signature in the file $f on the SAN, and what blkid then finds in it. {vg},
# {label} and {uuid} are the host's own names.
_MADE = {
    "lvm": (
        _LOOP.format(
            'vgcreate -qy {vg} "$dev" && lvcreate -qy -Wn -l 50%FREE -n root {vg} && '
            "udevadm settle && vgchange -qan {vg}"
        ),
        "LVM2_member",
    ),
    "known-md": ("true", "linux_raid_member"),
    "md": ("true", "linux_raid_member"),
    "ext4": (_EXT4.format(label="{label}", uuid="{uuid}", more=""), "ext4"),
    "mbr": (
        _EXT4.format(label="guestroot", uuid="random", more="-E offset=1048576")
        + f' 8m && echo {_PARTITION} | sfdisk -q "$f"',
        "dos",
    ),
    "gpt": (f'echo {_PARTITION} | sfdisk -q --label gpt "$f"', "gpt"),
    "swap": ('mkswap -q -L guestswap "$f"', "swap"),
    "btrfs": ('mkfs.btrfs -q -M -n 4096 -L guestbtrfs "$f"', "btrfs"),
    "luks": ('echo secret | cryptsetup luksFormat -q --type luks1 -i 1 "$f"', "crypto_LUKS"),
}


@dataclasses.dataclass(frozen=True)
class Disks:
    """The LUNs by their signature, and what was in their files when they were made."""

    volumes: dict[str, san.Volume]
    sums: tuple[str, ...]

    @property
    def all(self) -> list[san.Volume]:
        return list(self.volumes.values())

    @property
    def listed(self) -> str:
        """The WWID of the one that multipath is to be told of, as it has it."""
        return f"3{self.volumes['swap'].wwid.removeprefix('naa.')}"

    def now(self, storage: san.San) -> tuple[str, ...]:
        """What is in their files now, to be compared with `sums`."""
        return _sums(storage, self.all)


def make(
    s: stage.Stage,
    things: own.Things,
    names: Sequence[str] = tuple(_MADE),
    *,
    portals: Sequence[str] = (),
) -> Disks:
    """Export them, with the names of the host that has these things of its own.

    Raises CommandFailed where a signature is none.
    """
    sizes = [32 << 20, *[SIZE] * (len(names) - 1)]
    volumes = dict(zip(names, s.volumes("vm1", sizes, portals=portals), strict=True))
    s.san.write(volumes["known-md"], things.lost_member)
    s.san.write(volumes["md"], things.foreign_member)
    lines = ["set -e"]
    for name in names:
        made, found = _MADE[name]
        made = made.format(vg=things.vg, label=things.label, uuid=things.uuid)
        lines.append(f"f={shlex.quote(volumes[name].path)}; {made}")
        lines.append(f'blkid -p "$f" | grep -q \'TYPE="{found}"\'')
    s.san.host.run("\n".join(lines), timeout=180)
    return Disks(volumes, _sums(s.san, list(volumes.values())))


def _sums(storage: san.San, volumes: Sequence[san.Volume]) -> tuple[str, ...]:
    """Return the SHA-256 of each file, without what the guest's ring is in."""
    first, *others = [shlex.quote(volume.path) for volume in volumes]
    line = f"{{ head -c {OFFSET} {first}; tail -c +{OFFSET + RING + 1} {first}; }} | sha256sum; "
    return tuple(
        storage.host.run(f"{line} sha256sum {' '.join(others)}", timeout=120).out.splitlines()
    )
