import os
import subprocess
from pathlib import Path

from tests.lab import commands, errors

_PYTHON = "/usr/lib/python3/dist-packages"
# Package and a file only it brings: for hosts, guest, the package under test, the tests.
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
    ("build-essential", "/usr/share/doc/build-essential"),
    ("debhelper", "/usr/bin/dh"),
    ("dh-python", "/usr/bin/pybuild"),
    ("pybuild-plugin-pyproject", "/usr/share/doc/pybuild-plugin-pyproject"),
    ("python3-all", "/usr/share/doc/python3-all"),
    ("python3-setuptools", f"{_PYTHON}/setuptools"),
    ("dbus-daemon", "/usr/bin/dbus-daemon"),
    ("graphviz", "/usr/bin/dot"),
    ("systemd-journal-remote", "/lib/systemd/systemd-journal-remote"),
    ("python3-dbus-next", f"{_PYTHON}/dbus_next"),
    ("python3-hypothesis", f"{_PYTHON}/hypothesis"),
    ("python3-jsonschema", f"{_PYTHON}/jsonschema"),
    ("python3-libvirt", f"{_PYTHON}/libvirt.py"),
    ("python3-prometheus-client", f"{_PYTHON}/prometheus_client"),
    ("python3-pyudev", f"{_PYTHON}/pyudev"),
    ("python3-systemd", f"{_PYTHON}/systemd"),
    ("python3-yaml", f"{_PYTHON}/yaml"),
    ("python3-pytest", f"{_PYTHON}/pytest"),
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
