"""kvmlun check: what the files name that this host has not."""

import argparse

import pytest

from kvmlun import config, errors
from kvmlun.cli import check


def checked(monkeypatch, folder, text):
    """Check a file as that of this host."""
    (folder / "kvmlun.yaml").write_text(text)
    monkeypatch.setattr(config, "FOLDER", folder)
    return check._check(argparse.Namespace(folder=folder))


def test_a_folder_for_metrics_has_to_be_there(monkeypatch, tmp_path):
    with pytest.raises(errors.Config) as wrong:
        checked(monkeypatch, tmp_path, "settings: {metrics_folder: /nowhere}\n")
    assert str(wrong.value) == "settings.metrics_folder: /nowhere is no folder of this host"
    there = "settings: {metrics_folder: /proc}\n"
    assert checked(monkeypatch, tmp_path, there) == "0 volumes, no mistake\n"
