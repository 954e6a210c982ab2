"""An iSCSI pool of libvirt's, and a VM whose disk is its volume."""

from collections.abc import Sequence

from tests.lab import san
from tests.lab.machine import Machine
from tests.lab.stage import Stage
from tests.lab.vm import Vm


class Pools:
    """Those that a test has made."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._made: list[tuple[Machine, str]] = []

    def vm(self, name: str, hosts: Sequence[Machine]) -> tuple[san.Volume, Vm]:
        """Define a VM and, on these hosts, its pool: kvmlun is told nothing."""
        volume = self._stage.volume(name)
        address, _, port = volume.portal.rpartition(":")
        xml = f"""<pool type='iscsi'><name>pool-{name}</name>
          <source><host name='{address}' port='{port}'/><device path='{volume.iqn}'/></source>
          <target><path>/dev/disk/by-path</path></target></pool>"""
        for host in hosts:
            self._made.append((host, f"pool-{name}"))
            host.run("virsh pool-define /dev/stdin", input=xml)
            host.run(f"virsh pool-start pool-{name}", timeout=120)
        link = f"pool-{name}/unit:0:0:{volume.lun}"
        return volume, self._stage.vm(name, [volume], known_on=[], links=[link])

    def drop(self) -> None:
        """Remove the pools, and the node records that libvirt leaves."""
        for host, name in self._made:
            host.run(f"virsh pool-destroy {name}; virsh pool-undefine {name}", timeout=120)
            host.run("iscsiadm -m node -o delete", check=False)
