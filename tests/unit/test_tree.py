"""The tree, and the table beside it, of what a daemon shows."""

from kvmlun.cli import status, tree
from kvmlun.cli.looks import Looks

from .pictures import LINK, OTHER_WWID, TARGET, WWID, absent, lun, session
from .pictures import status as shown


def drawn(picture, **how):
    return tree.draw(tree.grow(picture, "kvm1"), Looks(**how)).splitlines()


def test_host_target_session_lun_link_vm():
    assert drawn(shown()) == [
        "kvm1",
        f"└─ {TARGET}",
        "   └─ session 1 10.77.1.1:3260 LOGGED_IN",
        f"      └─ LUN 0 vm1-0 {WWID} 64 MiB /dev/sda in-use",
        f"         └─ {LINK}",
        "            └─ vm1",
    ]


def test_a_lun_hangs_below_each_of_its_sessions_and_without_one_below_its_target():
    both = lun(sessions=["/x/sessions/1", "/x/sessions/2"])
    two = session(id=2, portal="10.77.2.1:3260", state="FAILED", owned=False, iface="b")
    lines = drawn(shown([both, absent(lun=3)], [session(), two]))
    assert sum(WWID in line for line in lines) == 2
    assert "   ├─ session 2 10.77.2.1:3260 b FAILED (borrowed)" in lines
    assert lines[-1] == f"   └─ LUN 3 data-0 {OTHER_WWID} 64 MiB absent"
    assert "   │  │  └─ vm1" not in lines and "   │        └─ vm1" in lines


def test_a_missing_lun_shows_who_needs_it_and_no_link():
    missing = absent(target="", volume="", size=0, domains=["vm2"], state="missing")
    assert drawn(shown([missing], [])) == [
        "kvm1",
        "└─ a target that nobody knows",
        f"   └─ LUN 0 {OTHER_WWID} missing",
        "      └─ vm2",
    ]


def test_a_terminals_width_and_its_characters_are_kept_to():
    assert max(map(len, drawn(shown(), width=40))) <= 40
    assert drawn(shown(), lines=False)[2].startswith("   `- session 1")
    coloured = drawn(shown(sessions=[session(state="FAILED")]), colours=True)
    assert any(line.endswith("\x1b[31msession 1 10.77.1.1:3260 FAILED\x1b[0m") for line in coloured)


def test_the_table_has_a_line_for_each_lun_and_says_what_is_wrong():
    picture = shown([lun(key="holder")], suspended=["vm2: exchanged"], libvirt_problem="no libvirt")
    text = status.table(picture, Looks())
    head, line, *notes = text.splitlines()
    assert head.split() == "VOLUME WWID STATE DEVICE LINK SESSIONS FENCING VMS".split()
    assert "1 10.77.1.1:3260 LOGGED_IN" in line and line.split()[-2:] == ["holder", "vm1"]
    assert "suspended until the right LUN is back: vm2: exchanged" in notes
    assert "no libvirt; nothing is logged out until it answers" in notes
    assert status.table(shown([], []), Looks()) == "no LUNs\n"


def test_at_a_narrow_terminal_the_table_is_short_before_it_is_cut():
    """Who holds a LUN, and which session is down, is told before where and what it can do."""
    both = lun(sessions=["/x/sessions/1", "/x/sessions/2"], domains=["vm1", "vm2 of the lab"])
    two = session(id=2, portal="10.77.2.1:3260", state="FAILED", owned=False, iface="b")
    held = {
        "wwid": WWID, "fencing": True, "here": True, "holder": "iqn.x", "can": "type 5, kept",
        "registrants": [{"initiator": "iqn.x"}],
    }  # fmt: skip
    picture = shown([both, absent()], [session(), two], reservations=[held])
    assert status.table(picture, Looks(width=80)).splitlines() == [
        "VOLUME  WWID           STATE   DEVICE    SESSIONS       FENCING    VMS",
        "vm1-0   naa.60…111111  in-use  /dev/sda  2 FAILED (bo…  this host  vm1, vm2 of …",
        "data-0  naa.60…222222  absent  -         -              -          -",
    ]
    wide = status.table(picture, Looks(width=240))
    assert wide == status.table(picture, Looks())
    assert "1 10.77.1.1:3260 LOGGED_IN, 2 10.77.2.1:3260 b FAILED (borrowed)" in wide
    assert "this host (target: type 5, kept)" in wide


def test_a_table_fits_and_what_is_wrong_below_it_is_broken_between_words():
    picture = shown([lun()], suspended=[f"vm2: {TARGET} was exchanged"])
    lines = status.table(picture, Looks(width=60)).splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[-2:] == [
        "suspended until the right LUN is back: vm2:",
        f"{TARGET} was exchanged",
    ]
    assert len(status.as_tree(picture, Looks()).splitlines()) == 8


def test_a_drained_host_says_since_when_and_how_to_end_it():
    text = status.table(shown(drained_since=10**9), Looks())
    assert "drained since 2001-09-" in text
    assert text.endswith(": no LUN comes here until kvmlun host resume\n")


def test_what_is_waited_for_is_said_with_its_seconds(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1004.4)
    step = f"login to {TARGET} at 10.77.1.1:3260"
    waiting = {"operation": "prepare", "subject": "vm1", "step": step, "since": 1000.0}
    text = status.as_tree(shown(waiting=[waiting]), Looks())
    assert text.endswith(f"\nprepare vm1: waiting for {step} (4 s)\n")
    named = {**waiting, "step": "volume x: waiting for the session of t to be back"}
    assert "vm1: volume x: waiting for the session" in status.as_tree(
        shown(waiting=[named]), Looks()
    )
