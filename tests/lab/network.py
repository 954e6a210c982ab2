"""A network namespace of the lab's own with a bridge a network and a tap a host and network."""

import dataclasses
from pathlib import Path

from tests.lab import commands, processes, spec

# The lab's own address on each bridge.
LAB_OCTET = 254


@dataclasses.dataclass(frozen=True)
class Namespace:
    name: str

    @property
    def path(self) -> Path:
        return Path("/run/netns") / self.name

    @property
    def enter(self) -> list[str]:
        """What to put before a command; the mounts stay those of the machine."""
        return ["nsenter", f"--net={self.path}", "--"]

    def exists(self) -> bool:
        return self.path.exists()

    def create(self) -> None:
        commands.run(["ip", "netns", "add", self.name])
        self._ip("link", "set", "lo", "up")
        for net in spec.NETWORKS:
            # Without the delay a restored link would carry nothing for 15 seconds, and without
            # snooping neighbour discovery does not depend on a querier.
            options = ("forward_delay", "0", "mcast_snooping", "0")
            self._ip("link", "add", net.name, "type", "bridge", *options)
            self._ip("address", "add", f"{net.address(LAB_OCTET)}/24", "dev", net.name)
            self._ip("address", "add", f"{net.address6(LAB_OCTET)}/64", "dev", net.name, "nodad")
            self._ip("link", "set", net.name, "up")

    def delete(self) -> None:
        """End every process in it, by pid, and then remove it with its bridges and taps."""
        if not self.exists():
            return
        processes.kill_all(f"the processes in {self.name}", self._pids)
        commands.run(["ip", "netns", "delete", self.name])

    def add_taps(self, host: spec.Host) -> None:
        for net in spec.NETWORKS:
            tap = host.tap(net)
            self._ip("tuntap", "add", tap, "mode", "tap")
            self._ip("link", "set", tap, "master", net.name, "up")

    def delete_taps(self, host: spec.Host) -> None:
        for net in spec.NETWORKS:
            commands.run(["ip", "-netns", self.name, "link", "delete", host.tap(net)], check=False)

    def cut(self, host: spec.Host, net: spec.Network) -> None:
        # Not by the tap: a host whose tap was down for a moment never receives from it again.
        self._set_port(host.tap(net), "disabled")

    def restore(self, host: spec.Host, net: spec.Network) -> None:
        self._set_port(host.tap(net), "forwarding")

    def _set_port(self, tap: str, state: str) -> None:
        commands.run(["bridge", "-netns", self.name, "link", "set", "dev", tap, "state", state])

    def _ip(self, *words: str) -> None:
        commands.run(["ip", "-netns", self.name, *words])

    def _pids(self) -> list[int]:
        return [int(pid) for pid in commands.run(["ip", "netns", "pids", self.name]).split()]
