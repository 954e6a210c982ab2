"""Who does the storage's part on the hosts: kvmlun, or the hook that people write themselves."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from tests.lab import machine, package, san

HOOK = "/etc/libvirt/hooks/qemu.d/50-naive"
GRACE_SECONDS = 3


class Peer(Protocol):
    """What a test needs of it. `know` tells a host of volumes, for VMs named like in `vm`."""

    name: str

    def install(self, host: machine.Machine) -> None: ...
    def remove(self, host: machine.Machine) -> None: ...
    def know(
        self, host: machine.Machine, vm: str, volumes: Iterable[san.Volume], **keys: object
    ) -> None: ...
    def forget(self, host: machine.Machine) -> None: ...
    def configure(self, host: machine.Machine, **settings: object) -> None: ...


class Kvmlun:
    """kvmlun from its package. A host that is told nothing receives VMs all the same."""

    name = "kvmlun"
    settings = f"settings: {{grace: {GRACE_SECONDS}}}\n"

    def install(self, host: machine.Machine) -> None:
        host.run(["rm", "-f", HOOK])
        if not host.has(package.build()):
            host.install(package.build())
        host.put(self.settings.encode(), "/etc/kvmlun/kvmlun.yaml")
        host.run(["systemctl", "reload-or-restart", "kvmlund"])

    def remove(self, host: machine.Machine) -> None:
        host.run(
            "! dpkg-query -s kvmlun || apt-get purge -y kvmlun && rm -rf /etc/kvmlun", timeout=180
        )

    def know(
        self, host: machine.Machine, vm: str, volumes: Iterable[san.Volume], **keys: object
    ) -> None:
        """Tell a host of a VM's volumes; `keys` are more of the schema's."""
        entries = {
            f"{vm}-{index}": {
                "wwid": volume.wwid,
                "target": volume.iqn,
                "lun": volume.lun,
                "portals": list(volume.portals),
                **keys,
            }
            for index, volume in enumerate(volumes)
        }
        # JSON is YAML, too.
        text = json.dumps({"volumes": entries}, indent=1)
        host.put(text.encode(), f"/etc/kvmlun/volumes.d/{vm}.yaml")
        host.run(["systemctl", "reload", "kvmlund"])

    def forget(self, host: machine.Machine) -> None:
        host.run(
            "rm -rf /etc/kvmlun/volumes.d/* /etc/kvmlun/secrets; test ! -e /usr/sbin/kvmlund || "
            f"{{ echo '{self.settings.strip()}' >/etc/kvmlun/kvmlun.yaml; "
            "systemctl restart kvmlund.socket kvmlund; }"
        )

    def configure(self, host: machine.Machine, **settings: object) -> None:
        """Set what the test needs beside the lab's own settings, until it is over."""
        text = json.dumps({"settings": {"grace": GRACE_SECONDS, **settings}})
        host.put(text.encode(), "/etc/kvmlun/kvmlun.yaml")
        host.run(["systemctl", "reload", "kvmlund"])


class Naive:
    """The naive hook. It has to be told of every VM on every host."""

    name = "naive"

    def install(self, host: machine.Machine) -> None:
        Kvmlun().remove(host)
        host.put(b"", "/etc/naive-hook")
        host.put(Path(__file__).parent / "naive-hook", HOOK, mode=0o755)
        host.run(["systemctl", "try-reload-or-restart", "libvirtd"])

    def remove(self, host: machine.Machine) -> None:
        host.run(["rm", "-f", HOOK])

    def know(
        self, host: machine.Machine, vm: str, volumes: Iterable[san.Volume], **keys: object
    ) -> None:
        # One login brings all LUNs of a target.
        targets = dict.fromkeys((volume.iqn, volume.portal) for volume in volumes)
        lines = "".join(f"{vm} {iqn} {portal}\n" for iqn, portal in targets)
        host.run("cat >>/etc/naive-hook", input=lines)

    def forget(self, host: machine.Machine) -> None:
        host.put(b"", "/etc/naive-hook")

    def configure(self, host: machine.Machine, **settings: object) -> None:
        """It has no settings."""


PEERS: dict[str, type[Kvmlun] | type[Naive]] = {"kvmlun": Kvmlun, "naive": Naive}
