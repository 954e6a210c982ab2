"""Which initiator names, and which states of iscsid, are good ones."""

import pytest

from kvmlun import errors
from kvmlun.doctor import initiator

NAME = "iqn.2026-11.com.company:kvm1"
# As /proc/net/unix of Linux 6.1 shows systemd's listening socket, and a connection to it.
UNIX = """\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 18342 @ISCSIADM_ABSTRACT_NAMESPACE
0000000000000000: 00000003 00000000 00000000 0001 03 19001 @ISCSIADM_ABSTRACT_NAMESPACE
0000000000000000: 00000003 00000000 00000000 0001 03 17001
"""
NOT_LISTENING = UNIX.replace("00010000", "00000000")


def name(text, older=False, used=()):
    return initiator.name(text, older, dict(used))


@pytest.mark.parametrize("given", [NAME, "eui.0123456789abcdef", "iqn.2026-11.com.company"])
def test_good_names(given):
    text = f"## Do NOT duplicate iSCSI InitiatorNames.\n#InitiatorName=x\nInitiatorName={given}\n"
    assert name(text) is None
    assert name(text, older=True, used=[(1, given), (2, "")]) is None


@pytest.mark.parametrize(
    "text, told",
    [
        ("", "has no InitiatorName"),
        ("#InitiatorName=iqn.2026-11.com.company:x\n", "has no InitiatorName"),
        ("InitiatorName=\n", "has no InitiatorName"),
        ("GenerateName=yes\n", "not made yet"),
        (f"InitiatorName={NAME}\nInitiatorName={NAME}b\n", "has 2 names"),
        ("InitiatorName=kvm1\n", "is no iSCSI name"),
        ("InitiatorName=iqn.1993-08.org.debian:01:\\n\n", "is no iSCSI name"),
        ("InitiatorName=iqn.2026-11.com.company:a b\n", "is no iSCSI name"),
        ("InitiatorName=iqn.2001-04.com.example:kvm1\n", "an example's name"),
        ("InitiatorName=iqn.2001-04.com.redhat:fc6\n", "an example's name"),
    ],
)
def test_bad_names(text, told):
    finding = name(text)
    assert told in finding.cause and finding.remedy and finding.check == "initiator"


def test_a_name_that_came_with_an_image():
    made = "InitiatorName=iqn.1993-08.org.debian:01:313e24299ef\n"
    assert name(made) is None
    assert "came with an image" in name(made, older=True).cause


def test_a_name_that_sessions_do_not_have():
    finding = name(f"InitiatorName={NAME}\n", used=[(1, NAME), (2, "iqn.old:x"), (3, "iqn.old:x")])
    assert "session 2, 3, which is iqn.old:x" in finding.cause


def test_iscsid_and_its_socket():
    assert initiator.daemon(UNIX, runs=True, sessions=3) is None
    assert initiator.daemon(UNIX, runs=False, sessions=0) is None
    assert "does not run" in initiator.daemon(UNIX, runs=False, sessions=3).cause
    assert "nor its socket" in initiator.daemon(NOT_LISTENING, runs=False, sessions=0).cause
    assert "nor its socket" in initiator.daemon("", runs=True, sessions=0).cause


@pytest.mark.parametrize("version", ["2.1.8", "2.1.9", "2.1.11", "2.2.0"])
def test_good_versions(version):
    assert initiator.version(f"iscsid version {version}\n") is None


def test_a_bad_version():
    finding = initiator.version("iscsid version 2.1.10\n")
    assert "2.1.10" in finding.cause and "scan=manual" in finding.cause
    assert "2.1.11" in finding.remedy
    with pytest.raises(errors.Storage, match="no version"):
        initiator.version("hello")
