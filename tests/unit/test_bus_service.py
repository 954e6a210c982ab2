"""kvmlund's objects on a real bus: what they show, what they signal, how they answer."""

import asyncio
import logging
from types import SimpleNamespace

import pytest
from dbus_next import Message, MessageType, Variant

from kvmlun import errors, names
from kvmlun.bus import objects
from kvmlun.client import Client
from kvmlun.drain import Drain
from kvmlun.explain import Line
from kvmlun.explainer import Explanation
from kvmlun.steps import Operation, Step
from kvmlun.traces import Waiting

from .buses import Manager, bus, serving
from .worlds import TARGET, UUID, WWID, disk, session

PROPERTIES = "org.freedesktop.DBus.Properties"
LUN_PATH = objects.lun_path(str(WWID))
SESSION_PATH = objects.session_path(1)


@pytest.fixture(autouse=True)
def a_bus(monkeypatch):
    with bus(monkeypatch):
        yield


def test_everything_is_found_below_the_root_and_comes_and_goes_with_signals():
    async def look():
        manager = Manager()
        async with serving(manager) as (service, asker):
            found = await asker.call(names.OBJECT_MANAGER, "GetManagedObjects")
            assert {path: list(shown) for path, shown in found.items()} == {
                LUN_PATH: [names.LUN],
                SESSION_PATH: [names.SESSION],
            }
            assert found[LUN_PATH][names.LUN]["Sessions"] == [SESSION_PATH]
            manager.here = []
            service.refresh()
            heard = sorted(await asker.heard(2), key=lambda signal: signal[1])
            assert heard[0] == (names.ROOT, "InterfacesRemoved", [SESSION_PATH, [names.SESSION]])
            path, member, (interface, changed, _) = heard[1]
            assert (path, member, interface) == (LUN_PATH, "PropertiesChanged", names.LUN)
            gone = {"Device": "", "Sessions": [], "Size": 0, "State": "absent"}
            assert gone.items() <= changed.items() and "Wwid" not in changed
            manager.here = [session(1, disk())]
            service.refresh()
            signals = [signal[:2] for signal in await asker.heard(4)][2:]
            assert signals == [(names.ROOT, "InterfacesAdded"), (LUN_PATH, "PropertiesChanged")]

    asyncio.run(look())


def test_nothing_is_told_before_the_bus_knows_who_may_hear_it():
    async def look():
        manager = Manager()
        async with serving(manager) as (service, asker):
            assert asker.signals == []
            manager.here = []
            service.refresh()
            assert await asker.heard(2)

    asyncio.run(look())


def test_what_the_daemon_waits_for_is_signalled_as_well():
    async def look():
        manager = Manager()
        async with serving(manager) as (service, asker):
            service.refresh()
            manager.domains.problem = "no libvirt"
            service.refresh()
            told = [names.MANAGER, {"LibvirtProblem": "no libvirt"}, []]
            assert await asker.heard(1) == [(names.ROOT, "PropertiesChanged", told)]
            got = await asker.call(PROPERTIES, "Get", "ss", names.MANAGER, "LibvirtProblem")
            assert got == "no libvirt"

    asyncio.run(look())


def test_a_drained_host_says_so(tmp_path):
    async def ask():
        manager = Manager()
        manager.drain = Drain(tmp_path / "drained")
        async with serving(manager) as (service, asker):
            service.refresh()
            assert await asker.call(names.MANAGER, "Drain") is None
            since = int(manager.drain.since)
            told = [names.MANAGER, {"DrainedSince": since}, []]
            assert await asker.heard(1) == [(names.ROOT, "PropertiesChanged", told)]
            await asker.call(names.MANAGER, "Resume")
            assert manager.drain.since is None

    asyncio.run(ask())


def test_answers_and_errors_by_name():
    async def ask():
        manager = Manager()
        async with serving(manager) as (_, asker):

            async def answer(*call):
                return await asker.call(names.MANAGER, *call)

            assert (await answer("GetVolume", "s", "vm1-0"))["target"] == TARGET
            assert (await answer("GetVolume", "s", "x"))[0] == f"{names.ERROR}Unknown"
            refused = await answer("RemoveVolume", "s", "vm1-0")
            assert refused == (f"{names.ERROR}Refused", "vm1-0 is in use")
            assert (await answer("ListReservations"))[0] == f"{names.ERROR}Internal"
            assert await answer("AddVolume", "sa{sv}", "b", {"lun": Variant("u", 3)}) is None
            assert manager.added == {"b": {"lun": 3}}
            manager.domains.problem = "no libvirt"
            assert await answer("Renew", "ssu", "vm1-0", "agent", 5) is None
            changed = await asker.call(PROPERTIES, "Get", "ss", names.MANAGER, "LibvirtProblem")
            assert changed == "no libvirt" and len(asker.signals) == 1
            left = {"action": "remove-disk", "target": TARGET, "device": "/dev/sda"}
            assert await answer("Reconcile") == [{**left, "due": 4, "problem": ""}]
            assert (await answer("Reload"))[0] == f"{names.ERROR}Config"
            problem = {"ConfigProblem": "kvmlun.yaml:1: no"}
            assert (await asker.heard(2))[1][2] == [names.MANAGER, problem, []]

    asyncio.run(ask())


def test_what_is_explained_and_waited_for_reaches_the_command():
    async def explain(vm):
        done = Operation("prepare", "vm1", 5.0, 1700000000.5, lambda: None)
        done.seconds, done.steps = 2.5, [Step("login", 0.25, 2.0), Step("scan", 2.25)]
        return Explanation(vm, UUID, False, (Line("vda", "do", "log in"),), (done,))

    async def ask():
        manager, heard = Manager(), asyncio.Event()
        manager.explainer = SimpleNamespace(explain=explain)
        async with serving(manager) as (service, _), Client() as client:
            made = await client.explain("vm1")
            assert made["lines"] == [{"disk": "vda", "verdict": "do", "text": "log in"}]
            (operation,) = made["operations"]
            assert (operation["operation"], operation["at"]) == ("prepare", 1700000000.5)
            assert operation["steps"] == [
                {"text": "login", "after": 0.25, "seconds": 2.0},
                {"text": "scan", "after": 2.25, "seconds": None},
            ]
            await client.listen(heard.set)
            manager.traces.waiting = (Waiting("connect", "data-0", "login", 1700000001.0),)
            service.refresh()
            await asyncio.wait_for(heard.wait(), 5)
            told = {"operation": "connect", "subject": "data-0", "step": "login"}
            assert await client.waiting() == [{**told, "since": 1700000001.0}]
            assert client.is_served

    asyncio.run(ask())


def test_only_the_bus_says_who_is_there():
    """Any local user may send any signal."""

    async def ask():
        async with serving(Manager()) as (_, asker), Client() as client:
            heard = asyncio.Event()
            await client.listen(heard.set)
            forged = Message(
                destination=client._bus.unique_name, message_type=MessageType.SIGNAL,
                path="/org/freedesktop/DBus", interface="org.freedesktop.DBus",
                member="NameOwnerChanged", signature="sss", body=[names.BUS_NAME, ":1.1", ""],
            )  # fmt: skip
            await asker._connection.send(forged)
            await asyncio.wait_for(heard.wait(), 5)
            assert client.is_served

    asyncio.run(ask())


def test_the_log_level_is_set_as_systemd_does():
    async def ask():
        async with serving(Manager()) as (_, asker), Client() as client:
            assert await client.log_level() == "info"
            await client.set_log_level("debug")
            told = [names.LOG_CONTROL, {"LogLevel": "debug"}, []]
            signal = (names.LOG_CONTROL_PATH, "PropertiesChanged", told)
            assert await asker.heard(1) == [signal]
            assert (await client.log_level(), root.level) == ("debug", logging.DEBUG)
            with pytest.raises(errors.Invalid, match="no log level loud"):
                await client.set_log_level("loud")
            assert await client.log_level() == "debug"

    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.INFO)
    try:
        asyncio.run(ask())
    finally:
        root.setLevel(before)
