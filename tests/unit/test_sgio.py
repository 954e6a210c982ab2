"""What a device says of a command that failed."""

import pytest

from kvmlun import sgio


@pytest.mark.parametrize(
    "sense, codes",
    [
        ("700005000000000a000000002400", (5, 0x24)),
        ("f00005000000000a000000002500", (5, 0x25)),
        ("72052400000000000000000000", (5, 0x24)),
        ("73060000000000000000000000", (6, 0)),
    ],
)
def test_both_formats_of_sense_data_tell_their_codes(sense, codes):
    assert sgio.sense_codes(bytes.fromhex(sense)) == codes
