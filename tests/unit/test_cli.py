"""The command as a whole: how it ends."""

import os
import sys

import pytest

from kvmlun import cli


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
