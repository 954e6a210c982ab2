"""The command as a whole: how it ends."""

import os
import sys

import pytest

from kvmlun import cli

from .buses import bus

WHERE = "--wwid naa.6001405 --target iqn.2026-11.com.example:a --portal 10.0.0.1".split()


def test_who_has_read_enough_is_no_reason_to_complain(tmp_path, monkeypatch, capfd):
    """As in kvmlun status | head -1."""
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert cli.main(["check", str(tmp_path)]) == 0
        # As the interpreter does at its end.
        stdout.flush()
    assert capfd.readouterr().err == ""


def test_what_can_not_be_written_is_said_in_a_line(tmp_path, monkeypatch, capfd):
    with open("/dev/full", "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert cli.main(["check", str(tmp_path)]) == 1
        stdout.flush()
    assert capfd.readouterr().err == "kvmlun: [Errno 28] No space left on device\n"


def test_a_terminal_without_utf_8_is_told_the_rest(tmp_path, monkeypatch):
    """As in a shell whose LANG is a Latin-1 one."""
    with open(tmp_path / "told", "w", encoding="latin-1") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit, match="0"):
            cli.main(["volume", "add", "--help"])
    assert "6001405" in (tmp_path / "told").read_text(encoding="latin-1")


@pytest.mark.parametrize("option", ["--lun", "--min-paths"])
@pytest.mark.parametrize("number", ["-1", "4294967296"])
def test_a_number_that_d_bus_can_not_carry_is_a_wrong_argument(option, number, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["volume", "add", "a", *WHERE, option, number])
    assert f"invalid number value: '{number}'" in capsys.readouterr().err


def test_a_text_that_d_bus_can_not_carry_is_a_wrong_argument(monkeypatch, capsys):
    """As an argument that is no UTF-8 comes."""
    with bus(monkeypatch):
        assert cli.main(["explain", "vm\udcff1"]) == 2
    assert capsys.readouterr().err == "kvmlun: 'vm\\udcff1' is no UTF-8\n"
