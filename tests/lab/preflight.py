import os
import subprocess
from pathlib import Path

from tests.lab import commands, errors

# Package and a file only it brings; the last three are for the guest image.
NEEDED = (
    ("user-mode-linux", "/usr/bin/linux.uml"),
    ("mmdebstrap", "/usr/bin/mmdebstrap"),
    ("debian-archive-keyring", "/usr/share/keyrings/debian-archive-keyring.gpg"),
    ("e2fsprogs", "/sbin/mke2fs"),
    ("iproute2", "/sbin/ip"),
    ("kmod", "/sbin/depmod"),
    ("util-linux", "/usr/bin/nsenter"),
    ("openssh-client", "/usr/bin/ssh"),
    ("busybox-static", "/bin/busybox"),
    ("cpio", "/usr/bin/cpio"),
    ("gcc", "/usr/bin/gcc"),
    ("libc6-dev", "/usr/include/stdio.h"),
)


def missing() -> list[str]:
    return [package for package, path in NEEDED if not Path(path).exists()]


def check() -> None:
    """Raise LabError with the one line that says what to do first."""
    if os.geteuid() != 0:
        raise errors.LabError("the lab needs root: network namespaces, taps, chroot")
    if not Path("/dev/net/tun").exists():
        raise errors.LabError("no /dev/net/tun: load the tun module (modprobe tun)")
    packages = missing()
    if packages:
        raise errors.LabError(
            f"missing packages: {' '.join(packages)}: run python3 -m tests.lab setup"
        )


def setup() -> None:
    packages = missing()
    if not packages:
        return
    environment = {**commands.ENVIRONMENT, "DEBIAN_FRONTEND": "noninteractive"}
    argv = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if subprocess.run(argv, stdin=subprocess.DEVNULL, env=environment).returncode != 0:
        raise errors.LabError(f"{' '.join(argv)} failed (see above); is apt-get update needed?")
