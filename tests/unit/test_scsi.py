"""What a device says of a command that failed."""

import pytest

from kvmlun import scsi


@pytest.mark.parametrize("sense", ["70000500", "f1000500", "72052400", "73050000"])
def test_both_formats_of_sense_data_tell_their_key(sense):
    assert scsi.sense_key(bytes.fromhex(sense)) == 5
