"""The file for node_exporter: whole, readable, and never another one."""

import os
import stat

import pytest

from kvmlun import errors
from kvmlun.metricsfile import MetricsFile


@pytest.fixture(autouse=True)
def umask():
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_it_is_replaced_and_can_be_read_by_another_user(tmp_path):
    file = MetricsFile(tmp_path)
    for text in (b"first 1\n", b"second 2\n"):
        file.write(text)
    assert os.listdir(tmp_path) == ["kvmlun.prom"]
    assert (tmp_path / "kvmlun.prom").read_bytes() == b"second 2\n"
    assert stat.S_IMODE((tmp_path / "kvmlun.prom").stat().st_mode) == 0o644
    file.remove()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["kvmlun.prom", ".kvmlun.prom.new"])
def test_no_link_is_followed(tmp_path, name):
    """The folder is node_exporter's user's, the writer is root."""
    (folder := tmp_path / "folder").mkdir()
    (tmp_path / "shadow").write_text("root:")
    (folder / name).symlink_to(tmp_path / "shadow")
    MetricsFile(folder).write(b"kvmlun_drained 1\n")
    assert (tmp_path / "shadow").read_text() == "root:"
    assert (folder / "kvmlun.prom").read_text() == "kvmlun_drained 1\n"


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    file = MetricsFile(tmp_path / "none")
    with pytest.raises(errors.Storage) as failed:
        file.write(b"")
    assert str(failed.value) == (
        f"cannot write {tmp_path}/none/kvmlun.prom (settings.metrics_folder): "
        "No such file or directory"
    )
    file.remove()
    assert os.listdir(tmp_path) == []
