"""Whose QEMU waits for a migration."""

import pytest

from kvmlun.qemu import is_incoming

from .worlds import UUID


@pytest.mark.parametrize(
    "argv, incoming",
    [
        (["qemu-system-x86_64", "-uuid", UUID, "-incoming", "defer"], True),
        (["qemu-system-x86_64", "-uuid", UUID], False),
        (["qemu-system-x86_64", "-uuid", "another", "-incoming", "defer"], False),
        (["grep", UUID, "-incoming"], False),
        (["-uuid"], False),
    ],
)
def test_a_process(tmp_path, argv, incoming):
    (tmp_path / "123").mkdir()
    (tmp_path / "123/cmdline").write_bytes("".join(f"{each}\0" for each in argv).encode())
    (tmp_path / "self").mkdir()
    (tmp_path / "124").mkdir()
    assert is_incoming(UUID, tmp_path) is incoming
