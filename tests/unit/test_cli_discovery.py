"""kvmlun volume discover: what stands in /etc/kvmlun that nothing is known of."""

import functools

from kvmlun import config
from kvmlun.cli import discovery


def test_what_can_not_be_read_of_the_catalog_is_told(monkeypatch, tmp_path, capsys):
    (tmp_path / "kvmlun.yaml").write_text("volumes:\n  vm1: {lun: 0}\n")
    monkeypatch.setattr(config, "read", functools.partial(config.read, tmp_path))
    assert discovery._catalog().volumes == {}
    first, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith(f"kvmlun: {tmp_path}/kvmlun.yaml:2: volumes.vm1: ")
    assert first.endswith("; volumes there are found as new ones")
