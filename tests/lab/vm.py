"""A virtual machine of the lab: its definition, where it runs, what it wrote."""

import re
import shlex
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab import guest, machine, ring, san, wait

BOOT_SECONDS = 120
MIGRATE_SECONDS = 240
LIVE = "--live --persistent --undefinesource"
RING = "/usr/local/lib/kvmlun-lab/ring.py"


class Vm:
    """A guest that writes its ring on every disk, `offset` bytes behind its start.

    `hosts` are all that it may run on. libvirt is asked by UUID, since a test may change the name.
    With `writes_to` the guest writes to that many disks, from the first one on.
    """

    def __init__(
        self,
        name: str,
        volumes: Sequence[san.Volume],
        hosts: Sequence[machine.Machine],
        *,
        by_path: bool = False,
        links: Sequence[str] = (),
        extra: str = "",
        offset: int = 0,
        driver: Mapping[str, str | None] = {},
        writes_to: int | None = None,
    ) -> None:
        self.name = name
        self.uuid = str(uuid.uuid4())
        self.volumes = list(volumes)
        self.hosts = list(hosts)
        self.links = list(links) or [v.by_path() if by_path else v.by_id for v in volumes]
        self._driver = driver
        self._writes_to = writes_to
        self.targets = [f"vd{chr(ord('a') + index)}" for index in range(len(self.volumes))]
        self._extra = extra
        self._offset = offset
        for host in hosts:
            host.run(f"rm -f {guest.CONSOLE.format(name=name)}")

    def xml(self, metadata: str = "") -> str:
        disks = [
            guest.Disk(link, target, self._driver, self._extra)
            for link, target in zip(self.links, self.targets, strict=True)
        ]
        ring = self.targets[: self._writes_to]
        return guest.domain_xml(
            self.name, self.uuid, disks, metadata=metadata, offset=self._offset, ring=ring
        )

    def define(self, host: machine.Machine) -> None:
        host.run(["virsh", "define", "/dev/stdin"], input=self.xml())

    def start(self, host: machine.Machine, writing: bool = True) -> None:
        """Start it; raises CommandFailed with virsh's text. Waits until the guest has written."""
        host.run(["virsh", "start", self.uuid], timeout=120)
        if writing:
            self.wait_writes(host)

    def refused(self, host: machine.Machine) -> str:
        """Start it in vain; return virsh's text."""
        told = host.run(["virsh", "start", self.uuid], timeout=120, check=False)
        assert told.rc != 0, f"{self.name} was started on {host.name}"
        return told.err

    def migrate(
        self,
        source: machine.Machine,
        destination: machine.Machine,
        options: str = LIVE,
    ) -> None:
        """Raises CommandFailed with virsh's text."""
        source.run(self.migration(destination, options), timeout=MIGRATE_SECONDS)

    def migration(
        self,
        destination: machine.Machine,
        options: str = LIVE,
        client_options: str = "",
    ) -> str:
        """Return the command that migrates it, to be run on the source."""
        virsh = f"virsh {client_options}".strip()
        return f"{virsh} migrate {options} {self.uuid} qemu+ssh://{destination.name}/system"

    def destroy(self, host: machine.Machine) -> None:
        host.run(["virsh", "destroy", self.uuid])

    def shutdown(self, host: machine.Machine) -> None:
        host.run(["virsh", "shutdown", self.uuid])
        wait.wait_for(f"{self.name} shut off", lambda: not self.is_running(host), BOOT_SECONDS)

    def command(self, host: machine.Machine, command: str) -> None:
        """Tell the guest poweroff, reboot, panic, stop, go, sizes or discard DISK OFFSET LENGTH."""
        host.run(guest.command_argv(self.name, command))

    def state(self, host: machine.Machine) -> str:
        """Return libvirt's word for the state, "" where the host does not know the VM."""
        return host.run(["virsh", "domstate", self.uuid], check=False).out.strip()

    def is_running(self, host: machine.Machine) -> bool:
        return self.state(host) not in ("", "shut off", "crashed")

    def console(self, host: machine.Machine) -> str:
        path = guest.CONSOLE.format(name=self.name)
        return host.run(f"cat {path} 2>/dev/null || true").out

    def reported(self, host: machine.Machine) -> int:
        """Return how many blocks the guest has reported on this host's console."""
        path = guest.CONSOLE.format(name=self.name)
        return int(host.run(f"grep -c '^RING ' {path} 2>/dev/null || true").out.strip() or 0)

    def wait_writes(self, host: machine.Machine, more: int = 20) -> None:
        """Wait until the guest has written some more blocks here."""
        self.wait_console(host, "^RING ", self.reported(host) + more)

    def wait_console(self, host: machine.Machine, pattern: str, times: int = 1) -> None:
        """Wait until so many lines match grep's pattern.

        The host itself waits: asking it again and again would take its one CPU from the guest.
        """
        path = guest.CONSOLE.format(name=self.name)
        lines = f"tail --pid=$$ -n +1 -F {path} 2>/dev/null"
        found = f"exec timeout {BOOT_SECONDS} grep -m {times} {shlex.quote(pattern)} < <({lines})"
        done = host.run(["bash", "-c", found], timeout=BOOT_SECONDS + 30, check=False)
        if done.rc != 0:
            seen = len(done.out.splitlines())
            raise wait.TimedOut(f"{pattern!r} on {self.name}'s console: {seen} of {times} lines")

    def check_data(self, storage: san.San, *, outrun: machine.Machine | None = None) -> list[str]:
        """Compare every LUN with what the guest reported; return one line for each disk.

        Raises CommandFailed where a reported block is lost, torn or foreign, or none was reported.
        A guest that went on reading on the host `outrun`, while another host wrote, says so there.
        """
        storage.host.put(Path(ring.__file__), RING)
        consoles = []
        for host in self.hosts:
            if text := self.console(host):
                if host is outrun:
                    text = re.sub("^RING-BAD .*\n", "", text, flags=re.M)
                path = f"/tmp/{self.name}.{host.name}.console"
                storage.host.put(text.encode(), path)
                consoles.append(path)
        return [
            storage.host.run(
                ["python3", "-I", "-S", RING, "--disk", target, volume.path, *consoles], timeout=120
            ).out.strip()
            for target, volume in zip(
                self.targets[: self._writes_to], self.volumes[: self._writes_to], strict=True
            )
        ]
