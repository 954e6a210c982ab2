"""What an operator is shown of a real host: status, explain, events, graph."""

import json
import re
import signal
import subprocess

import pytest

from tests.lab import machine, remote, wait_for
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "only kvmlun has a command"

PORTAL_NETWORK = "san_a"


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def explained(host: machine.Machine, vm: str = "vm1") -> dict:
    return json.loads(host.run(["kvmlun", "explain", vm, "--json"]).out)


def steps_of(made: dict, operation: str) -> list[str]:
    return [
        step["text"]
        for each in made["operations"]
        if each["operation"] == operation
        for step in each["steps"]
    ]


def test_a_vm_is_explained_shown_and_followed(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    vm = s.vm("vm1", [volume])
    before = host.run("kvmlun explain vm1").out
    assert "A start here would now do this" in before
    assert f"log in to {volume.iqn} at " in before and "volume vm1-0 in /etc/kvmlun" in before
    tree, events = host.spawn("kvmlun status --tree --watch"), host.spawn("kvmlun events -f -n 0")
    wait_for("the first picture", lambda: "absent" in tree.out, 20)
    vm.start(host, writing=False)
    wait_for(
        "vm1 in the tree", lambda: re.search(r"└─ /dev/disk/by-id/.*\n *└─ vm1\n", tree.out), 20
    )
    wait_for("vm1 ready", lambda: "vm1: ready after" in events.out, 20)
    assert f"logged in to {volume.iqn}" in events.out

    # A kvmlund that is killed takes nothing of this along.
    host.kill_daemon("kvmlund")
    wait_for("kvmlund", lambda: host.run("kvmlun explain vm1", check=False).rc == 0, 30)
    made = explained(host)
    assert made["running"] and not [line for line in made["lines"] if line["verdict"] == "refused"]
    assert any(volume.wwid in line["text"] and line["verdict"] == "ok" for line in made["lines"])
    assert any(step.startswith(f"login to {volume.iqn}") for step in steps_of(made, "prepare"))
    wait_for("vm1 in the last picture", lambda: tree.out.endswith("└─ vm1\n"), 20)

    status = host.run(remote.at_a_terminal("kvmlun status")).out
    assert "\x1b[32m" in status and "…" in status
    branches = host.run(remote.at_a_terminal("NO_COLOR=1 kvmlun status --tree")).out
    # A line that was waited with is taken away, whatever is said of colours.
    assert not re.search(r"\x1b\[[0-9;]*m", branches)
    piped = host.run(f"COLUMNS={remote.COLUMNS} kvmlun status | cat").out
    for shown in (plain(status), plain(branches), piped):
        assert "vm1-0" in shown and "in-use" in shown
        assert max(len(line.rstrip("\r")) for line in shown.splitlines()) <= remote.COLUMNS
    assert volume.wwid in host.run("kvmlun status").out
    drawn = subprocess.run(["dot", "-Tsvg"], input=host.run("kvmlun graph").out.encode(),
                           capture_output=True, check=True)  # fmt: skip
    assert volume.wwid.encode() in drawn.stdout and not drawn.stderr

    vm.destroy(host)
    s.wait_clean()
    wait_for("its logout", lambda: f"logged out of {volume.iqn}" in events.out, 20)
    for command in (tree, events):
        command.signal(signal.SIGINT)
        done = command.wait(20)
        assert (done.rc, done.err) == (0, "")
    ended = steps_of(explained(host), "release")
    assert any(step.startswith(f"logout of {volume.iqn}") for step in ended)


def test_what_is_waited_for_is_shown(s: Stage) -> None:
    """A storage network without a link: a start and a connect wait, and what would be is said."""
    host, volume, data = s.kvms[0], s.volume("vm1"), s.volume("data")
    s.peer.know(host, "data", [data])
    vm = s.vm("vm1", [volume])
    with host.cut(PORTAL_NETWORK):
        refused = host.run("kvmlun explain vm1").out
        assert "A start here would be refused now" in refused
        assert f"no login to {volume.iqn}" in refused and "the portal does not answer" in refused
        connecting = host.spawn(remote.at_a_terminal("kvmlun connect data-0"))
        verbs = (f"volume discover {data.portal}", "volume repin data-0", "disk-xml data-0")
        asking = [host.spawn(remote.at_a_terminal(f"kvmlun {verb}")) for verb in verbs]
        starting = host.spawn(["virsh", "start", vm.uuid])
        login = f"prepare vm1: waiting for login to {volume.iqn}"
        wait_for("status to say", lambda: login in host.run("kvmlun status").out, 10)
        wait_for("connect to say", lambda: "waiting for login to" in connecting.out, 10)
        for each in asking:
            wait_for(each.command, lambda: "waiting for " in each.out, 10)
    assert starting.wait(120).rc == 0, starting.err
    for each in asking:
        each.wait(120)
    done = connecting.wait(120)
    assert done.rc == 0 and plain(done.out).split("\r")[-2].endswith(data.by_id)
    (prepare,) = [o for o in explained(host)["operations"] if o["operation"] == "prepare"]
    (waited,) = [each for each in prepare["steps"] if each["text"].startswith("login to")]
    assert 1 < waited["seconds"] <= prepare["seconds"]
    wait_for("the end of the wait", lambda: "waiting" not in host.run("kvmlun status").out, 10)
    host.run("kvmlun disconnect data-0")
    vm.destroy(host)
    s.wait_clean()
