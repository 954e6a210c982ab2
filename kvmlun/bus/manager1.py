"""The object at the root: the daemon itself. A thin facade over the manager."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from dbus_next import Variant

from .. import __version__, domxml, names, status
from ..manager import Manager
from .access import CONNECT, MANAGE, TAKE_OVER
from .calls import call
from .objects import Shown, Table
from .values import (
    of_comparison,
    of_explanation,
    of_holding,
    of_left,
    of_reservation,
    of_waiting,
    plain,
    variants,
)

Dict = dict[str, Variant]


class Manager1(Shown):
    """The daemon: its version, what it waits for, the catalog of volumes. Shows the Manager.

    `acted` is called when a method may have changed something.
    """

    interface = names.MANAGER
    table: ClassVar[Table] = {
        "Version": ("s", lambda _: __version__),
        "LibvirtProblem": ("s", lambda manager: manager.domains.problem),
        "ConfigProblem": ("s", lambda manager: manager.configuration.problem),
        "Suspended": (
            "as",
            lambda manager: [f"{s.name}: {s.why}" for s in manager.guard.suspended],
        ),
        "FencingProblems": ("as", lambda manager: list(manager.fencing_problems)),
        "DrainedSince": ("t", lambda manager: int(manager.drain.since or 0)),
        "Waiting": ("a(sssd)", lambda manager: [of_waiting(w) for w in manager.traces.waiting]),
    }

    def __init__(self, manager: Manager, acted: Callable[[], None]) -> None:
        super().__init__(manager)
        self.acted = acted

    # Looking

    @call(gives="aa{sv}")
    def ListVolumes(self) -> list[Dict]:
        return [variants(v) for v in status.volumes(self.value.config.volumes.values())]

    @call("s", gives="a{sv}")
    def GetVolume(self, name: str) -> Dict:
        return variants(status.volumes([self.value.config.volume(name)])[0])

    @call(gives="aa{sv}")
    async def ListReservations(self) -> list[Dict]:
        return [of_reservation(each) for each in await self.value.reservations()]

    @call(gives="as")
    def ListHolders(self) -> list[str]:
        return list(self.value.holders())

    @call("s", gives="a{sv}")
    async def Explain(self, vm: str) -> Dict:
        return of_explanation(await self.value.explainer.explain(vm))

    @call("s", "s", gives="s")
    def DiskXml(self, volume: str, target: str) -> str:
        return domxml.disk_xml(self.value.config.volume(volume).wwid.link, target)

    # LUNs without a domain

    @call("s", "s", "u", gives="s", action=CONNECT)
    async def Connect(self, volume: str, owner: str, ttl: int) -> str:
        with self.value.traces.operation("connect", volume):
            return str(await self.value.connections.connect(volume, owner, ttl))

    @call("s", "s", "u", action=CONNECT)
    def Renew(self, volume: str, owner: str, ttl: int) -> None:
        self.value.connections.renew(volume, owner, ttl)

    @call("s", "s", action=CONNECT)
    def Disconnect(self, volume: str, owner: str) -> None:
        self.value.connections.disconnect(volume, owner)

    @call(gives="aa{sv}", action=CONNECT)
    async def Reconcile(self) -> list[Dict]:
        return [of_left(each) for each in await self.value.actions.all_due()]

    # The catalog

    @call("s", "a{sv}", action=MANAGE)
    def AddVolume(self, name: str, volume: Dict) -> None:
        self.value.add_volume(name, plain(volume))

    @call("s", action=MANAGE)
    def RemoveVolume(self, name: str) -> None:
        self.value.remove_volume(name)

    @call("s", gives="a{sv}", action=MANAGE)
    async def ComparePin(self, what: str) -> Dict:
        with self.value.traces.operation("repin", what):
            return of_comparison(await self.value.compare_pin(what))

    @call("s", "s", gives="a{sv}", action=MANAGE)
    async def Repin(self, what: str, wwid: str) -> Dict:
        with self.value.traces.operation("repin", what):
            return of_comparison(await self.value.repin(what, wwid))

    @call(action=MANAGE)
    def Reload(self) -> None:
        self.value.configuration.read()

    # The host

    @call(action=MANAGE)
    def Drain(self) -> None:
        self.value.drain.begin()

    @call(action=MANAGE)
    def Resume(self) -> None:
        self.value.drain.end()

    # A dead host's LUNs

    @call("s", gives="aa{sv}", action=TAKE_OVER)
    async def CompareHolders(self, vm: str) -> list[Dict]:
        with self.value.traces.operation("takeover", vm):
            return [of_holding(each) for each in await self.value.takeovers.compare(vm)]

    @call("s", action=TAKE_OVER)
    def StopComparing(self, vm: str) -> None:
        self.value.takeovers.stop_comparing(vm)

    @call("s", "a{sat}", gives="as", action=TAKE_OVER)
    async def TakeOver(self, vm: str, rivals: Mapping[str, Any]) -> list[str]:
        with self.value.traces.operation("takeover", vm):
            return list(await self.value.takeovers.take_over(vm, rivals))

    @call("s", action=TAKE_OVER)
    def GiveUp(self, vm: str) -> None:
        self.value.takeovers.give_up(vm)
