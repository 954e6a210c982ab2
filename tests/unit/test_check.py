"""kvmlun check: what the files name that this host has not."""

import argparse

import pytest

from kvmlun import config, errors, nodedb
from kvmlun.cli import check


def checked(monkeypatch, folder, text):
    """Check a file as that of this host."""
    (folder / "kvmlun.yaml").write_text(text)
    monkeypatch.setattr(config, "FOLDER", folder)
    return check._check(argparse.Namespace(folder=folder))


def test_a_folder_for_metrics_has_to_be_there(monkeypatch, tmp_path):
    with pytest.raises(errors.Config) as wrong:
        checked(monkeypatch, tmp_path, "settings:\n  grace: 5\n  metrics_folder: /nowhere\n")
    assert str(wrong.value) == (
        f"{tmp_path}/kvmlun.yaml:3: settings.metrics_folder: /nowhere is no folder of this host; "
        "name the one that node_exporter reads"
    )
    there = "settings: {metrics_folder: /proc}\n"
    assert checked(monkeypatch, tmp_path, there) == "0 volumes, no mistake\n"


def test_an_interface_has_to_be_there(monkeypatch, tmp_path):
    monkeypatch.setattr(nodedb, "root", lambda: tmp_path)
    (tmp_path / "ifaces").mkdir()
    (tmp_path / "ifaces/here").write_text("iface.transport_name = tcp\n")
    volume = """\
volumes:
  a:
    wwid: naa.60014051111111111111111111111111
    target: iqn.2026-11.com.example:a
    portals: [10.0.0.1]
    ifaces:
    - here
    - away
"""
    with pytest.raises(errors.Config) as wrong:
        checked(monkeypatch, tmp_path, volume)
    place, _, told = str(wrong.value).partition(": volumes.a.ifaces[1]: ")
    assert place == f"{tmp_path}/kvmlun.yaml:8" and told.startswith("open-iscsi has no iface away ")
