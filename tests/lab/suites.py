"""What a host image is made of, as data."""

import dataclasses

from tests.lab import errors

MIRROR = "http://deb.debian.org/debian"
SECURITY = "http://deb.debian.org/debian-security"

BASE = (
    "apt ca-certificates dbus e2fsprogs fdisk gdisk iproute2 iputils-ping kmod less netbase"
    " netcat-openbsd nftables openssh-client openssh-server procps psmisc socat strace systemd"
    " systemd-sysv tcpdump udev"
).split()
KVM = (
    "apparmor btrfs-progs cryptsetup-bin libiscsi7 libvirt-clients libvirt-daemon-system lsscsi"
    " lvm2 mdadm multipath-tools open-iscsi polkitd python3 python3-apt python3-argcomplete"
    " python3-dbus-next python3-jsonschema python3-libvirt python3-prometheus-client"
    " python3-pyudev python3-systemd python3-yaml qemu-system-x86 qemu-utils sg3-utils"
    " sg3-utils-udev"
).split()
SAN = ("python3-rtslib-fb", "targetcli-fb", "tgt")


@dataclasses.dataclass(frozen=True)
class Suite:
    """`backports` are packages to take from there, as patterns of apt_preferences(5)."""

    name: str
    backports: str = ""
    packages: tuple[str, ...] = (*BASE, *KVM, *SAN)

    @property
    def preferences(self) -> str:
        release = f"Pin: release n={self.name}-backports\nPin-Priority: 900\n"
        return f"Package: {self.backports}\n{release}" if self.backports else ""

    @property
    def sources(self) -> tuple[str, ...]:
        more = (f"deb {MIRROR} {self.name}-backports main",) if self.backports else ()
        return (
            *more,
            f"deb {MIRROR} {self.name} main",
            f"deb {MIRROR} {self.name}-updates main",
            f"deb {SECURITY} {self.name}-security main",
        )


# QEMU 7.2 can lose writes of an emulated guest that migrates: it clears the dirty bitmap without
# resetting the CPU's TLB (migration's cpu_physical_memory_sync_dirty_bitmap; later versions call
# tlb_reset_dirty_range_all there). KVM guests are not concerned; one of ours crashed that way.
SUITES = (Suite("bookworm", backports="qemu* seabios"), Suite("trixie"))

# Nothing in the lab waits for these; they would run at some moment of a test.
MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "logrotate.timer",
    "tgt.service",
)

# Masked on the kernel command line, since one image serves both roles.
MASKED_BY_ROLE = {
    "kvm": ("rtslib-fb-targetctl.service", "targetclid.socket"),
    "san": (
        "iscsid.socket",
        "libvirt-guests.service",
        "libvirtd-admin.socket",
        "libvirtd-ro.socket",
        "libvirtd.service",
        "libvirtd.socket",
        "lvm2-monitor.service",
        "multipathd.service",
        "multipathd.socket",
        "open-iscsi.service",
        "targetclid.socket",
        "virtlockd-admin.socket",
        "virtlockd.socket",
        "virtlogd-admin.socket",
        "virtlogd.socket",
    ),
}


def suite(name: str) -> Suite:
    for known in SUITES:
        if known.name == name:
            return known
    raise errors.LabError(f"no suite {name}: {', '.join(s.name for s in SUITES)}")
