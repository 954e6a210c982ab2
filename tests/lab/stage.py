"""A lab made ready for VMs: the storage's peer, and clean hosts between tests."""

import copy
import logging
import uuid
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, TypeVar

from tests.lab import guest, lab, machine, observe, peers, reservations, san, vm, wait

T = TypeVar("T")

log = logging.getLogger("kvmlun.lab")

BASE = "iqn.2026-11.io.github.kvmlun.lab"
CLEAN_SECONDS = 60


class Stage:
    """What a test plays on. `install` once for each lab, `clear` after each test.

    A stage on one host only has targets of its own as well, so that two such
    stages can be played on at the same time. Where `fencing` is set, hosts are told of
    volumes as fenced ones.
    """

    def __init__(self, up: lab.Lab, peer: peers.Peer, only: str = "") -> None:
        self.lab = up
        self.san = up.san
        self.peer = peer
        self.kvms = [host for host in up.machines if host.spec.role == "kvm"]
        self.base = BASE
        self.fencing = False
        if only:
            self.kvms = [up[only]]
            self.base = f"{BASE}.{only}"

    def fenced(self) -> "Stage":
        """Return this stage with fencing on."""
        made = copy.copy(self)
        made.fencing = True
        return made

    def install(self, *hosts: machine.Machine, bare: Sequence[machine.Machine] = ()) -> None:
        """Make `hosts` (all by default) ready for VMs; those in `bare` without the peer."""

        def install(host: machine.Machine) -> None:
            if host in bare:
                self.peer.remove(host)
            else:
                log.info("%s: install %s", host.name, self.peer.name)
                self.peer.install(host)

        self._on_each(install, [*(hosts or self.kvms), *bare])

    def volume(
        self, name: str, lun: int = 0, size: int = 64 << 20, *, portals: Sequence[str] = ()
    ) -> san.Volume:
        """Export a new LUN; `name` names its target."""
        return self.san.create(f"{self.base}:{name}", lun, size, portals=portals)

    def volumes(
        self, name: str, sizes: Sequence[int], *, portals: Sequence[str] = ()
    ) -> list[san.Volume]:
        """Export a new target with a LUN of each size."""
        return self.san.create_all(f"{self.base}:{name}", sizes, portals)

    @staticmethod
    def twin(of: vm.Vm, name: str) -> str:
        """Return the definition of another VM with the same disks, which can't run beside it."""
        xml = of.xml().replace(of.uuid, str(uuid.uuid4()))
        return xml.replace(f"<name>{of.name}</name>", f"<name>{name}</name>")

    def comes_and_goes(self, of: vm.Vm) -> None:
        """Start a VM on the first host and destroy it: it has lost nothing, and nothing is left."""
        of.start(self.kvms[0])
        of.destroy(self.kvms[0])
        self.wait_clean()
        of.check_data(self.san)

    def another_comes_and_goes(self) -> None:
        """Have a LUN brought to the first host and taken away, as long as it takes.

        What nobody else needed there has gone by then.
        """
        host, other = self.kvms[0], self.volume("other")
        self.peer.know(host, "other", [other])
        host.run("kvmlun connect other-0 && kvmlun disconnect other-0")
        wait.wait_for(
            "the other to go", lambda: other.iqn not in observe.observe(host).targets, CLEAN_SECONDS
        )

    def attach(self, to: vm.Vm, volume: san.Volume) -> None:
        """Attach a LUN as vdb to a VM that runs on the first host; it holds it from then on."""
        host = self.kvms[0]
        self.know(host, "more", [volume])
        link = host.run("kvmlun connect more-0").out.strip()
        disk = guest.disk_xml(guest.Disk(link, "vdb"))
        host.run(["virsh", "attach-device", to.uuid, "/dev/stdin", "--live"], input=disk)
        host.run("kvmlun disconnect more-0")
        wait.wait_for(
            f"the LUN held by {to.name}",
            lambda: observe.users(host, volume.wwid) == [to.name],
            CLEAN_SECONDS,
        )

    def define_also(self, made: vm.Vm, host: machine.Machine) -> None:
        """Define a VM on one more host, which knows its disks, so that it can be started there."""
        made.define(host)
        if self.peer.name != "naive":
            self.know(host, made.name, made.volumes)

    def vm(
        self,
        name: str,
        volumes: Sequence[san.Volume],
        *,
        known_on: Sequence[machine.Machine] | None = None,
        **options: Any,
    ) -> vm.Vm:
        """Define a VM on the first host; `options` are those of vm.Vm.

        By default the first host knows where its disks are; the naive hook is always told on all.
        """
        made = vm.Vm(name, volumes, self.kvms, **options)
        tell = self.kvms[:1] if known_on is None else list(known_on)
        for host in self.kvms if self.peer.name == "naive" else tell:
            self.know(host, name, volumes)
        made.define(self.kvms[0])
        return made

    def know(self, host: machine.Machine, name: str, volumes: Sequence[san.Volume]) -> None:
        """Tell a host of a VM's volumes."""
        self.peer.know(host, name, volumes, **({"fencing": True} if self.fencing else {}))

    def states(self) -> list[observe.HostState]:
        return self._on_each(observe.observe, self.kvms)

    def wait_clean(self, *hosts: machine.Machine) -> None:
        """Wait until nothing of iSCSI is left on `hosts` (all by default), nor of them on the SAN.

        A registration goes before its session does.
        """
        hosts = hosts or tuple(self.kvms)
        for host in hosts:
            state = observe.observe(host, clean_within=CLEAN_SECONDS)
            if not state.is_clean:
                left = "; ".join([*state.rows(), *state.state])
                raise wait.TimedOut(f"{host.name} after {CLEAN_SECONDS} s: {left}")
        registered = reservations.left(self.san, hosts)
        assert not registered, "left on the SAN: " + "; ".join(registered)

    def clear(self) -> None:
        """Remove what a test left, whatever it did, so that the next one starts from nothing."""

        def clear(host: machine.Machine) -> None:
            host.run(_CLEAR, timeout=120)
            self.peer.forget(host)

        self._on_each(clear, self.kvms)
        self.san.clear(self.base)

    @staticmethod
    def _on_each(call: Callable[[machine.Machine], T], hosts: Sequence[machine.Machine]) -> list[T]:
        with futures.ThreadPoolExecutor() as side_by_side:
            return list(side_by_side.map(call, hosts))


_CLEAR = """
for vm in $(virsh list --uuid); do virsh destroy "$vm"; done
for vm in $(virsh list --all --uuid); do
    virsh undefine --managed-save --snapshots-metadata "$vm"
done
rm -f /run/kvmlun/bypass/*
for map in $(multipath -l -v1); do
    multipathd disablequeueing map "$map"
    multipath -f "$map"
done
rm -f /etc/multipath/wwids
test -z "$(ls /sys/class/iscsi_session)" || iscsiadm -m session --logout
rm -rf /etc/iscsi/ifaces/[a-z][0-9] /etc/iscsi/nodes/* /etc/iscsi/send_targets/*
rm -rf /run/kvmlun/leases/* /run/kvmlun/luns/* /run/kvmlun/wwids/* /run/kvmlun/unstarted/*
rm -rf /run/kvmlun/keys/* /run/kvmlun/arriving/* /run/kvmlun/maps/* /var/lib/kvmlun/maps/*
rm -rf /var/lib/kvmlun/owned/* /var/lib/kvmlun/drained /var/log/lab/*
true
"""
