"""Sizes for people."""

import pytest

from kvmlun import sizes


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (0, "0 bytes"),
        (512, "512 bytes"),
        (1536, "1.5 KiB"),
        (64 << 20, "64 MiB"),
        (1000 << 20, "1000 MiB"),
        (20 << 30, "20 GiB"),
        ((20 << 30) + 512, "20 GiB"),
        (5 << 39, "2.5 TiB"),
        (2**64, "16 EiB"),
    ],
)
def test_the_unit_fits(size, told):
    assert sizes.text(size) == told
