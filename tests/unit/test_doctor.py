"""How ``kvmlun doctor`` goes through its checks, tells what they find, and ends."""

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

import pytest

from kvmlun import cli, doctor, errors
from kvmlun.doctor import checks, gathering
from kvmlun.finding import Finding

LINES = Finding("lvm", "it looks", "/etc/lvm/lvmlocal.conf", ("devices {", "}"), "put into it")
PLAIN = Finding("clock", "it is wrong", remedy="set it")
UNKNOWN = Finding("hook", "virsh is\x1b[31m silent", remedy="ask again", unknown=True)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command with these findings; return its exit code, its output and its error."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def run(*findings, options=()):
        async def examine(waits):
            return list(findings)

        monkeypatch.setattr(doctor, "examine", examine)
        return cli.main(["doctor", *options]), *capsys.readouterr()

    return run


def test_a_clean_host(run):
    assert run() == (errors.Exit.OK, "nothing found\n", "")


def test_what_is_found_is_told_with_its_remedy(run):
    code, out, err = run(LINES, PLAIN, UNKNOWN)
    assert code == errors.Exit.FOUND == 7
    assert out == (
        "lvm: it looks\n  put into it:\n    devices {\n    }\n"
        "clock: it is wrong\n  set it\n"
        "hook: not known: virsh is [31m silent\n  ask again\n"
    )
    assert err == "kvmlun: 2 to be mended, 1 could not be looked at\n"


def test_what_could_not_be_looked_at_is_no_clean_host(run):
    code, _, err = run(UNKNOWN)
    assert code == errors.Exit.UNSURE == 8
    assert err == "kvmlun: 1 could not be looked at\n"


def test_findings_as_json(run):
    code, out, _ = run(LINES, UNKNOWN, options=["--json"])
    assert code == 7
    lines, unknown = json.loads(out)
    assert lines == {
        "check": "lvm", "cause": "it looks", "remedy": "put into it", "unknown": False,
        "file": "/etc/lvm/lvmlocal.conf", "lines": ["devices {", "}"],
    }  # fmt: skip
    assert unknown["unknown"] is True
    assert json.loads(run(options=["--json"])[1]) == []


def test_who_reads_no_further_gets_the_same_exit_code(run, monkeypatch):
    """As in kvmlun doctor | head -1, for a shell with pipefail."""
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        code, _, _ = run(PLAIN)
        # As the interpreter does at its end.
        stdout.flush()
    assert code == errors.Exit.FOUND


def test_what_is_found_stands_before_how_much_it_is(run, monkeypatch, tmp_path):
    """Where both go to one file."""
    told = tmp_path / "told"
    with open(told, "a") as stdout, open(told, "a", buffering=1) as stderr:
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(sys, "stderr", stderr)
        run(PLAIN)
    assert told.read_text().endswith("kvmlun: 1 to be mended\n")


def test_a_socket_of_any_name_is_no_reason_to_end(tmp_path):
    """Any local user may give one a name that is no UTF-8, and the kernel lists it as it is."""
    name = bytes(tmp_path / "s") + b"\xff"
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(name)
        assert name in checks.UNIX.read_bytes()
        asyncio.run(checks.iscsid())


def test_only_root_can_look(monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main(["doctor"]) == errors.Exit.UNSURE
    assert "root" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["", "-oProxyCommand=touch"])
def test_a_host_can_be_no_option_of_sshs(host, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", f"--host={host}"])
    assert ended.value.code == errors.Exit.USAGE
    assert "a host's name" in capsys.readouterr().err


def test_a_bug_in_a_check_leaves_the_others(monkeypatch):
    """The others may be about to start programs, of which a cancelled loop never hears again."""

    async def has_a_bug():
        return 1 / 0

    async def asks():
        await checks.output("true")
        return PLAIN

    monkeypatch.setattr(doctor, "CHECKS", {"udev": has_a_bug, "clock": asks})
    bug, plain = asyncio.run(asyncio.wait_for(doctor.examine(lambda _: None), 20))
    assert plain == PLAIN
    assert bug.check == "udev" and bug.unknown and "ZeroDivisionError" in bug.cause


def test_a_check_that_fails_leaves_the_others(monkeypatch):
    async def fails():
        raise errors.Storage("no answer")

    async def has_no_file():
        Path("/nonexistent").read_text()

    async def finds():
        return PLAIN

    async def finds_two():
        return [LINES, LINES]

    async def fine():
        return None

    checks = {"a": fails, "b": finds, "c": finds_two, "d": fine, "e": has_no_file}
    monkeypatch.setattr(doctor, "CHECKS", checks)
    told = []
    first, *others, last = asyncio.run(doctor.examine(told.append))
    assert (first.check, first.cause, first.unknown) == ("a", "no answer", True)
    assert others == [PLAIN, LINES, LINES]
    assert last.check == "e" and last.unknown and "/nonexistent" in last.cause
    assert (told[0], told[-1]) == ("a, b, c, d, e", "")


@pytest.mark.parametrize(
    "script, check, unknown",
    [
        ("echo no route >&2; exit 255", "host", True),
        ("exit 1", "host", True),
        ("echo motd", "host", True),
        ("""echo '{"format": 2}'""", "host", True),
        ("exit 127", "version", False),
        ("exit 2", "version", False),
    ],
)
def test_a_host_that_can_not_be_compared_with(tmp_path, monkeypatch, script, check, unknown):
    (tmp_path / "ssh").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setattr(gathering.commands, "_ENV", {"PATH": f"{tmp_path}:/usr/bin:/bin"})

    async def here():
        return None

    monkeypatch.setattr(gathering, "here", here)
    told = []
    (finding,) = asyncio.run(doctor.compare("kvm2", told.append))
    assert (finding.check, finding.unknown) == (check, unknown)
    assert told[-1] == "ssh kvm2 kvmlun doctor --facts"


def test_secrets_are_told_by_name(tmp_path):
    folder, credentials = tmp_path / "secrets", tmp_path / "credentials"
    assert gathering.secret_names(folder, credentials) == ()
    for file in (folder / "a", folder / "b", credentials / "kvmlun.b", credentials / "kvmlun.c"):
        file.parent.mkdir(exist_ok=True)
        file.write_text("password = hush")
    (credentials / "other").touch()
    assert gathering.secret_names(folder, credentials) == ("a", "b", "c")


@pytest.mark.parametrize(
    ("left", "shown"),
    [
        ([], ""),
        (["hook", "udev"], "hook, udev"),
        (["kvmlund", "hook", "iscsid", "udev", "lvm"], "kvmlund, hook, iscsid, udev, lvm"),
        (["kvmlund", "hook", "iscsid", "udev", "lvm", "mdadm"],
         "kvmlund, hook, iscsid, udev and 2 more"),
    ],
)  # fmt: skip
def test_the_checks_that_are_waited_for_fit_into_a_line(left, shown):
    assert doctor.names(left) == shown
