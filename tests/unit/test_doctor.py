"""What ``kvmlun doctor`` reads of a host, and how it tells what it found."""

import asyncio
import json

import pytest

from kvmlun import cli, doctor, errors
from kvmlun.handsoff import Finding

FINDING = Finding("lvm", "it looks", "/etc/lvm/lvmlocal.conf", ("devices {", "}"))


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder for the only programs of this host."""
    monkeypatch.setattr(doctor, "_PATH", str(tmp_path))
    monkeypatch.setattr(doctor.commands, "_ENV", {"PATH": f"{tmp_path}:/usr/bin:/bin"})
    monkeypatch.setattr(doctor, "MDADM", tmp_path / "etc")
    return tmp_path


def install(folder, name, script):
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def found():
    return [finding.check for finding in asyncio.run(doctor.examine())]


def test_what_is_not_installed_lacks_nothing(programs):
    assert found() == []


def test_what_is_installed_is_judged(programs):
    install(
        programs,
        "lvmconfig",
        """printf 'devicesfile="no"\\nuse_devicesfile=0\\n'
        printf 'filter=["a|.*|"]\\nglobal_filter=["a|.*|"]\\n'""",
    )
    install(programs, "multipath", "echo")
    install(programs, "mdadm", "")
    assert found() == ["lvm", "mdadm", "multipath"]
    (programs / "etc/mdadm.conf.d").mkdir(parents=True)
    (programs / "etc/mdadm.conf.d/kvmlun.conf").write_text("DEVICE containers\n")
    assert found() == ["lvm", "multipath"]


def test_a_program_that_fails_is_an_error(programs):
    install(programs, "multipath", "echo need to be root >&2; exit 1")
    with pytest.raises(errors.Storage, match="multipath -t: need to be root"):
        found()


def test_what_is_found_is_told_with_its_remedy(monkeypatch, capsys):
    async def examine():
        return [FINDING]

    monkeypatch.setattr(doctor, "examine", examine)
    assert cli.main(["doctor"]) == errors.Exit.FOUND == 7
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "lvm: it looks"
    assert out.splitlines()[2:] == ["    devices {", "    }"]
    assert err == "kvmlun: 1 to be mended\n"
    assert cli.main(["doctor", "--json"]) == 7
    (told,) = json.loads(capsys.readouterr().out)
    assert told["check"] == "lvm" and told["lines"] == ["devices {", "}"]


def test_a_name_that_counts_boots_is_none_that_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "DISKS", tmp_path)
    for kind in ("by-diskseq", "by-id", "by-path", "by-uuid"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "x").symlink_to("/dev/null")
    assert doctor._names("null") == [f"{tmp_path}/by-id/x", f"{tmp_path}/by-path/x", "/dev/null"]
