"""VPD page 0x83 as LIO and tgt send it, and as a broken target might."""

import pytest

from kvmlun import vpd

NAA6 = bytes.fromhex("6001405a1b2c3d4e5f60718293a4b5c6")


def designator(kind, body, code_set=1, association=0):
    return bytes([code_set, association << 4 | kind, 0, len(body)]) + body


def page(*designators):
    body = b"".join(designators)
    return b"\x00\x83" + len(body).to_bytes(2, "big") + body


T10 = designator(1, b"LIO-ORG vm1:1b2c3d4e ", code_set=2)


def test_naa_comes_before_t10():
    wwids = vpd.identities(page(T10, designator(3, NAA6)))
    assert [str(wwid) for wwid in wwids] == [f"naa.{NAA6.hex()}", "t10.LIO-ORG vm1:1b2c3d4e"]


def test_a_longer_naa_name_comes_first():
    naa5 = bytes.fromhex("5000c500a1b2c3d4")
    wwids = vpd.identities(page(designator(3, naa5), designator(3, NAA6)))
    assert [str(wwid) for wwid in wwids] == [f"naa.{NAA6.hex()}", f"naa.{naa5.hex()}"]


def test_names_of_ports_and_targets_do_not_count():
    assert vpd.identities(page(designator(3, NAA6, association=1))) == ()
    assert vpd.identities(page(designator(3, NAA6, association=2))) == ()


def test_eui():
    body = bytes.fromhex("0123456789abcdef")
    assert str(vpd.identities(page(designator(2, body)))[0]) == "eui.0123456789abcdef"


@pytest.mark.parametrize(
    "body",
    [
        designator(3, NAA6[:7]),
        designator(3, NAA6)[:-1],
        designator(1, b"\x01\x02", code_set=2),
        designator(1, b"   ", code_set=2),
        designator(3, b""),
        b"\x01\x03",
    ],
)
def test_malformed_designators_are_left_out(body):
    assert vpd.identities(page(body)) == ()


def test_a_length_beyond_the_data_is_harmless():
    assert vpd.identities(b"\x00\x83\xff\xff" + designator(3, NAA6)) != ()


@pytest.mark.parametrize("data", [b"", b"\x00\x80\x00\x14" + designator(3, NAA6), b"\x00\x83"])
def test_another_page_has_no_identity(data):
    assert vpd.identities(data) == ()
