"""What a portal's answer to discovery is taken for; the library itself is seen in the lab."""

import pytest

from kvmlun import errors, libiscsi
from kvmlun.lun import Portal

from .worlds import TARGET


def test_a_target_with_its_portals():
    offered = libiscsi._offered(TARGET.encode(), [b"10.77.1.1:3260,1", b"[fd77:1::1]:3260,1"])
    assert offered == (TARGET, (Portal("10.77.1.1"), Portal("fd77:1::1")))


@pytest.mark.parametrize(
    "name, portals",
    [
        (TARGET.encode(), [b"10.77.1.1\xff:3260,1"]),
        (b"iqn.2026-11.com.example:\xff", []),
        (b"../../etc", []),
    ],
)
def test_a_name_or_a_portal_that_is_no_text_is_left_out(name, portals):
    with pytest.raises(errors.Invalid):
        libiscsi._offered(name, portals)
