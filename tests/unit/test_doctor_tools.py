"""What ``kvmlun doctor`` reads of LVM, mdadm and multipath."""

import asyncio

import pytest

from kvmlun import errors
from kvmlun.doctor import programs, tools


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for the only programs of this host."""
    monkeypatch.setattr(programs, "PATH", str(tmp_path))
    monkeypatch.setattr(programs.commands, "_ENV", {"PATH": f"{tmp_path}:/usr/bin:/bin"})
    monkeypatch.setattr(tools, "MDADM", tmp_path / "etc")
    return tmp_path


def install(folder, name, script):
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def found():
    async def ask():
        return [await check() for check in (tools.lvm, tools.mdadm, tools.multipath)]

    return [finding.check for finding in asyncio.run(ask()) if finding]


def test_what_is_not_installed_lacks_nothing(folder):
    assert found() == []


def test_what_is_installed_is_judged(folder):
    install(
        folder,
        "lvmconfig",
        """printf 'devicesfile="no"\\nuse_devicesfile=0\\n'
        printf 'filter=["a|.*|"]\\nglobal_filter=["a|.*|"]\\n'""",
    )
    install(folder, "multipath", "echo")
    install(folder, "mdadm", "")
    assert found() == ["lvm", "mdadm", "multipath"]
    (folder / "etc/mdadm.conf.d").mkdir(parents=True)
    (folder / "etc/mdadm.conf.d/kvmlun.conf").write_text("DEVICE containers\n")
    assert found() == ["lvm", "multipath"]


def test_a_program_that_fails_is_an_error(folder):
    install(folder, "multipath", "echo need to be root >&2; exit 1")
    with pytest.raises(errors.Storage, match="multipath -t: need to be root"):
        found()


def test_a_name_that_counts_boots_is_none_that_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(tools, "DISKS", tmp_path)
    for kind in ("by-diskseq", "by-id", "by-path", "by-uuid"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "x").symlink_to("/dev/null")
    assert tools.names("null") == [f"{tmp_path}/by-id/x", f"{tmp_path}/by-path/x", "/dev/null"]
