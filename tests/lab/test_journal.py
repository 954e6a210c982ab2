"""What an operator reads in the journal: a line for each thing, with fields and explanations."""

import json
from typing import Any

import pytest

from kvmlun import events
from tests.lab import machine, wait_for
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "only kvmlun has a daemon"

NOT_FOR_OPERATORS = 7  # syslog's debug


def entries(host: machine.Machine, since: str, *matches: str) -> list[dict[str, Any]]:
    """Return what kvmlund has written since then."""
    asked = ["journalctl", "-u", "kvmlund", "-o", "json", "--since", f"@{since}", *matches]
    host.run("journalctl --sync")
    found = [json.loads(line) for line in host.run(asked).out.splitlines()]
    return [each for each in found if "LOGGER" in each]


def now(host: machine.Machine) -> str:
    return host.run("date +%s.%N").out.strip()


def kinds(found: list[dict[str, Any]]) -> list[str]:
    names = {each.id: name for name, each in vars(events).items() if isinstance(each, events.Event)}
    return [names.get(each.get("MESSAGE_ID", ""), each["MESSAGE"]) for each in found]


def test_the_life_of_a_vm_in_lines(s: Stage) -> None:
    """Three lines; a refusal is one more, and each is explained."""
    host, volume = s.kvms[0], s.volume("vm1")
    vm = s.vm("vm1", [volume])
    since = now(host)
    vm.start(host, writing=False)
    twin = host.run(["virsh", "create", "/dev/stdin"], input=s.twin(vm, "vm2"), check=False)
    assert twin.rc != 0
    vm.destroy(host)
    s.wait_clean()
    found = entries(host, since)
    assert kinds(found) == ["LOGGED_IN", "READY", "REFUSED", "LOGGED_OUT"]
    login, ready, refused, logout = found
    for line in (login, ready):
        assert (line["KVMLUN_DOMAIN"], line["KVMLUN_OPERATION"]) == ("vm1", "prepare")
    assert login["KVMLUN_WWID"] == volume.wwid and volume.wwid in ready["MESSAGE"]
    assert (refused["KVMLUN_DOMAIN"], refused["PRIORITY"]) == ("vm2", "4")
    assert logout["KVMLUN_OPERATION"] == "end-session" and logout["PRIORITY"] == "6"
    of_vm1 = entries(host, since, "KVMLUN_DOMAIN=vm1")
    assert kinds(of_vm1) == ["LOGGED_IN", "READY", "LOGGED_OUT"]
    told = host.run(["journalctl", "-u", "kvmlund", "-x", "--since", f"@{since}"]).out
    assert "Subject: The LUNs of VM vm1 are ready" in told
    assert "Subject: The hook has refused prepare of VM vm2" in told


def test_more_on_request_until_the_next_start(s: Stage) -> None:
    host = s.kvms[0]

    def debug(since: str) -> bool:
        host.run("kvmlun volume list")
        found = entries(host, since)
        return any(int(each["PRIORITY"]) == NOT_FOR_OPERATORS for each in found)

    since = now(host)
    assert not debug(since) and host.run("kvmlun log-level").out == "info\n"
    host.run("kvmlun log-level debug")
    wait_for("what is for debugging", lambda: debug(since), 10)
    level = "systemctl service-log-level kvmlund"
    assert host.run(level).out == "debug\n"
    host.run(f"{level} warning")
    assert host.run("kvmlun log-level").out == "warning\n"
    assert host.run("runuser -u nobody -- kvmlun log-level debug", check=False).rc == 3
    loud = host.run("kvmlun log-level loud", check=False)
    assert loud.rc == 2 and "invalid choice: 'loud'" in loud.err
    host.run("systemctl restart kvmlund")
    assert host.run("kvmlun log-level").out == "info\n"
