"""The command as a whole: how it ends."""

import os
import sys

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
