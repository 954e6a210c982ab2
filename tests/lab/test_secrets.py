"""CHAP with LIO's access lists: it works, it is told well where it does not, and it never shows."""

from collections.abc import Iterator

import pytest

from tests.lab import CommandFailed, machine, remote, wait_for
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "only kvmlun keeps secrets"

FOLDER = "/etc/kvmlun/secrets"
ONE_WAY = {"username": "kvm", "password": "One-w4y-s3cret"}
MUTUAL = {**ONE_WAY, "username_in": "san", "password_in": "Mutu4l-s3cret"}
NEW = {"username": "kvm", "password": "R0tated-s3cret"}
CANARY = "a-c4nary"

# What any process shows of itself, looked at again and again, since most of them live for moments.
_WATCH = """
import glob, json, sys
words = [word.encode() for word in sys.argv[1:]]
print("watching", flush=True)
while True:
    for path in glob.glob("/proc/[0-9]*/cmdline") + glob.glob("/proc/[0-9]*/environ"):
        try:
            text = open(path, "rb").read()
        except OSError:
            continue
        if any(word in text for word in words) and b"kvmlun-watch" not in text:
            print(json.dumps([path, text.decode(errors="replace")]), flush=True)
"""


def put(host: machine.Machine, secret: dict[str, str], mode: int = 0o600) -> None:
    text = "".join(f"{key} = {value}\n" for key, value in secret.items())
    host.put(text.encode(), f"{FOLDER}/vm1", mode=mode)


def guarded(s: Stage, host: machine.Machine, secret: dict[str, str], name: str = "vm1"):
    """A VM on a volume that the target gives for this secret only, which the host has."""
    volume = s.volume(name)
    s.san.chap(volume, host.initiator, **secret)
    put(host, secret)
    made = s.vm(name, [volume])
    s.peer.know(host, name, [volume], secret="vm1")
    return volume, made


@pytest.fixture
def watched(s: Stage) -> Iterator[remote.Spawned]:
    """A look at every process's arguments and environment while the test logs in.

    It sees a process that lives for a moment, or the test does not begin.
    """
    host = s.kvms[0]
    words = {value for secret in (MUTUAL, NEW) for key, value in secret.items() if "pass" in key}
    since = host.run("date +%s").out.strip()
    host.run("kvmlun log-level debug")
    watching = host.spawn(["python3", "-c", _WATCH, *words, CANARY, "kvmlun-watch"])
    wait_for("a canary", lambda: host.run(["true", CANARY]) and CANARY in watching.out, 60)
    yield watching
    watching.stop()
    seen = watching.out.splitlines()[1:]
    assert [line for line in seen if CANARY not in line] == []
    logged = host.run(f"journalctl -o json --since @{since}").out
    for word in words:
        assert word not in logged


def test_one_way(s: Stage, watched: remote.Spawned) -> None:
    host = s.kvms[0]
    _, vm = guarded(s, host, ONE_WAY)
    vm.start(host)
    record = next(iter(s.states()[0].records))
    assert host.run(["stat", "-c", "%a %U", record]).out == "600 root\n"
    shown = [
        host.run("kvmlun status --json").out,
        host.run("kvmlun volume show vm1-0 --json").out,
        host.run(["virsh", "dumpxml", "--security-info", vm.uuid]).out,
        host.run("busctl introspect io.github.kvmlun /io/github/kvmlun").out,
        host.run("cat /run/kvmlun/leases/* /var/lib/kvmlun/owned/*").out,
        host.run("systemctl show kvmlund iscsid").out,
    ]
    assert not [text for text in shown if ONE_WAY["password"] in text]
    assert host.run("systemctl show -P LimitCORE kvmlund").out == "0\n"
    vm.destroy(host)
    s.wait_clean()
    vm.check_data(s.san)


@pytest.mark.campaign
def test_mutual(s: Stage, watched: remote.Spawned) -> None:
    host = s.kvms[0]
    _, vm = guarded(s, host, MUTUAL)
    s.comes_and_goes(vm)
    put(host, {**MUTUAL, "password_in": "Wr0ng-s3cret-of-it"})
    assert refused(vm, host).startswith("volume vm1-0: ")
    s.wait_clean()


def refused(vm, host: machine.Machine) -> str:
    with pytest.raises(CommandFailed) as told:
        vm.start(host, writing=False)
    return told.value.err.strip().splitlines()[-1].partition("kvmlun: ")[2]


def test_a_wrong_secret(s: Stage, watched: remote.Spawned) -> None:
    host = s.kvms[0]
    volume, vm = guarded(s, host, ONE_WAY)
    put(host, NEW)
    assert refused(vm, host) == (
        f"volume vm1-0: {volume.iqn} at {volume.portal}: the target refuses secret vm1, or does "
        "not know its username_in; compare /etc/kvmlun/secrets/vm1 with what the array has for "
        "this host"
    )
    s.wait_clean()


def test_a_secret_that_others_can_read(s: Stage) -> None:
    host = s.kvms[0]
    _, vm = guarded(s, host, ONE_WAY)
    put(host, ONE_WAY, mode=0o644)
    assert refused(vm, host) == (
        f"{FOLDER}/vm1: mode 0644 lets others at it; chmod 600 {FOLDER}/vm1"
    )
    s.wait_clean()


@pytest.mark.campaign
def test_a_new_secret_that_the_target_refuses_goes_nowhere(s: Stage) -> None:
    """A session that had it could never come back."""
    host = s.kvms[0]
    volume, vm = guarded(s, host, ONE_WAY)
    vm.start(host)
    put(host, NEW)
    host.run("systemctl reload kvmlund")
    told = f"journalctl -u kvmlund | grep -c '{volume.iqn} .*the target refuses this secret'"
    wait_for("the refusal", lambda: host.run(told, check=False).rc == 0, 30)
    put(host, ONE_WAY)
    host.run("systemctl reload kvmlund; systemctl restart iscsid")
    with host.cut("san_a"):
        wait_for("the session to drop", lambda: _states(s) == ["FAILED"], 60)
    wait_for("the session to be back", lambda: _states(s) == ["LOGGED_IN"], 90)
    vm.destroy(host)
    s.wait_clean()


@pytest.mark.campaign
def test_rotation(s: Stage, watched: remote.Spawned) -> None:
    """The session stays, and is back with the new secret after its connection was lost."""
    host = s.kvms[0]
    volume, vm = guarded(s, host, ONE_WAY)
    vm.start(host)
    before = s.states()[0].sessions
    s.san.chap(volume, host.initiator, **NEW)
    put(host, NEW)
    host.run("systemctl reload kvmlund")
    vm.wait_writes(host)
    assert s.states()[0].sessions == before
    host.run("systemctl restart iscsid")
    with host.cut("san_a"):
        wait_for("the session to drop", lambda: _states(s) == ["FAILED"], 60)
    wait_for("the session to be back", lambda: _states(s) == ["LOGGED_IN"], 90)
    vm.wait_writes(host)
    assert set(s.states()[0].sessions) == set(before)
    vm.destroy(host)
    s.wait_clean()
    s.comes_and_goes(vm)


@pytest.mark.campaign
def test_rotation_of_a_session_that_is_down(s: Stage) -> None:
    """It lost its connection after the array had the new secret, and before the host had."""
    host = s.kvms[0]
    volume, vm = guarded(s, host, ONE_WAY)
    vm.start(host)
    s.san.chap(volume, host.initiator, **NEW)
    with host.cut("san_a"):
        wait_for("the session to drop", lambda: _states(s) == ["FAILED"], 60)
    refused = "journalctl -u iscsid --since -1min | grep -c 'Login failed to authenticate'"
    wait_for("a login to fail", lambda: host.run(refused, check=False).rc == 0, 60)
    put(host, NEW)
    host.run("systemctl reload kvmlund")
    reminded = "journalctl -u kvmlund --since -1min | grep -c 'systemctl restart iscsid'"
    wait_for("the reminder", lambda: host.run(reminded, check=False).rc == 0, 60)
    host.run("systemctl restart iscsid")
    wait_for("the session to be back", lambda: _states(s) == ["LOGGED_IN"], 90)
    vm.wait_writes(host)
    vm.destroy(host)
    s.wait_clean()


def _states(s: Stage) -> list[str]:
    return [state for _, state in s.states()[0].sessions.values()]


@pytest.mark.campaign
def test_a_systemd_credential(s: Stage) -> None:
    host = s.kvms[0]
    _, vm = guarded(s, host, ONE_WAY)
    host.run(f"mv {FOLDER}/vm1 /root/chap && chmod 600 /root/chap")
    drop_in = "/etc/systemd/system/kvmlund.service.d/secret.conf"
    host.put(b"[Service]\nLoadCredential=kvmlun.vm1:/root/chap\n", drop_in)
    try:
        host.run("systemctl daemon-reload && systemctl restart kvmlund")
        s.comes_and_goes(vm)
    finally:
        host.run(f"rm -f {drop_in} /root/chap; systemctl daemon-reload; systemctl restart kvmlund")


def test_discover_of_a_guarded_target(s: Stage) -> None:
    host = s.kvms[0]
    volume, _ = guarded(s, host, ONE_WAY)
    host.run("rm /etc/kvmlun/volumes.d/vm1.yaml")
    discover = ["kvmlun", "volume", "discover", volume.portal]
    without = host.run(discover).out
    assert f"# {volume.iqn} at {volume.portal}: " in without and volume.wwid not in without
    found = host.run([*discover, "--secret", "vm1"]).out
    assert f"wwid: {volume.wwid}\n" in found and "secret: vm1\n" in found
