"""What an operator is shown, whatever of a LUN is there."""

import dataclasses

from kvmlun import status
from kvmlun.config import Config, Settings
from kvmlun.lun import Portal
from kvmlun.reconcile import Holds
from kvmlun.sysfs import LOGGED_IN

from . import worlds
from .worlds import LUN, WWID

CATALOG = Config(Settings(), {"vm1": dataclasses.replace(LUN, volume="vm1")})
EMPTY = Config(Settings(), {})


def held():
    holds = Holds()
    holds.wwid(str(WWID), "vm1")
    return holds


def states(view, config=CATALOG):
    return [(lun.volume, lun.state, lun.domains) for lun in status.luns(view, config)]


def test_each_state():
    up, down = worlds.session(1, worlds.disk()), worlds.session(1, worlds.disk(), state="FAILED")
    assert states(worlds.view()) == [("vm1", "absent", ())]
    assert states(worlds.view(holds=held())) == [("vm1", "missing", ("vm1",))]
    assert states(worlds.view(up)) == [("vm1", "idle", ())]
    assert states(worlds.view(up, holds=held())) == [("vm1", "in-use", ("vm1",))]
    assert states(worlds.view(down, holds=held())) == [("vm1", "down", ("vm1",))]


def of_paths(*ups, map_name="dm-0"):
    """Return the state of a LUN of these paths, each up or not."""
    sessions = [
        worlds.session(n, worlds.disk(f"sd{n}", map=map_name), state=LOGGED_IN if up else "FAILED")
        for n, up in enumerate(ups)
    ]
    ((_, state, _),) = states(worlds.view(*sessions, holds=held()))
    return state


def test_a_map_goes_on_by_the_paths_that_are_up():
    assert of_paths(True, True) == "in-use"
    assert of_paths(True, False) == of_paths(False, True) == of_paths(False, False, True)
    assert of_paths(True, False) == "degraded"
    assert of_paths(False, False) == "down"


def test_without_a_map_io_waits_for_the_path_that_is_down():
    assert of_paths(True, False, map_name="") == of_paths(False, True, map_name="") == "down"


def test_an_exchanged_path_is_what_is_told():
    up, down = (worlds.session(n, worlds.disk(f"sd{n}", map="dm-0")) for n in (1, 2))
    view = worlds.view(up, dataclasses.replace(down, state="FAILED"), holds=held())
    assert states(dataclasses.replace(view, exchanged={"sd1"})) == [("vm1", "exchanged", ("vm1",))]


def test_a_lun_without_a_catalog_entry_is_shown_while_it_is_needed():
    up = worlds.session(1, worlds.disk())
    assert states(worlds.view(up, holds=held()), EMPTY) == [("", "in-use", ("vm1",))]
    assert states(worlds.view(holds=held()), EMPTY) == [("", "missing", ("vm1",))]
    assert states(worlds.view(up), EMPTY) == []


def test_a_vm_with_a_disk_of_this_host_has_no_lun():
    holds = held()
    holds.local = {str(WWID)}
    assert states(worlds.view(holds=holds), EMPTY) == []
    assert status.holders(worlds.view(holds=holds), EMPTY) == []
    here = worlds.view(worlds.session(1, worlds.disk()), holds=holds)
    assert status.holders(here, EMPTY) == ["vm1"]


def test_who_has_luns_here_is_told_before_these_are_known():
    """A VM that starts, by a link that spells an address, while its login is under way."""
    holds = Holds()
    holds.address(LUN.address, "vm1")
    assert status.holders(worlds.view(holds=holds), EMPTY) == ["vm1"]


def test_one_lun_behind_two_sessions_is_one_lun():
    other = worlds.session(2, worlds.disk("sdb"), portal=Portal("10.77.2.1"))
    (lun,) = status.luns(worlds.view(worlds.session(1, worlds.disk()), other), CATALOG)
    assert lun.sessions == (1, 2) and len(lun.portals) == 2


def test_only_sessions_of_concern_are_shown():
    foreign = worlds.session(3, target="iqn.2026-11.com.example:backup")
    mine = worlds.session(1, worlds.disk())
    shown = status.sessions(worlds.view(mine, foreign, owned=[1]), CATALOG)
    assert [(session.sid, session.owned) for session in shown] == [(1, True)]
