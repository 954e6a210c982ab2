"""What libvirt's answer tells of the hook; the messages are those of libvirt 9.0 in the lab."""

import struct

import pytest

from kvmlun import domxml, errors, hook, hookproto
from kvmlun.doctor import hookprobe

_CALLED = (
    "error: Failed to restore domain from /run/kvmlun-doctor-x/saved error: Hook script execution "
    "failed: internal error: Child process (LC_ALL=C PATH=/usr/sbin:/usr/bin "
    "/etc/libvirt/hooks/qemu.d/50-kvmlun kvmlun-doctor restore begin -) unexpected exit status "
)
REACHED = f"{_CALLED}1: kvmlun: {hookproto.REACHED}"
NO_DAEMON = (
    f"{_CALLED}1: kvmlun: kvmlund does not answer (Connection refused); "
    "start it with: systemctl start kvmlund.socket kvmlund"
)
BROKEN = f"{_CALLED}1: kvmlun: the hook is broken, reinstall the package: SyntaxError()"
TRACEBACK = f"{_CALLED}1: Traceback (most recent call last): ImportError: No module named 'x'"
CANNOT = (
    f"{_CALLED}126: libvirt: error : cannot execute binary "
    "/etc/libvirt/hooks/qemu.d/50-kvmlun: Permission denied"
)
# In whatever language.
NOT_CALLED = (
    "error: Failed to restore domain from /run/kvmlun-doctor-x/saved error: unsupported "
    f"configuration: Ziel {hookprobe._OTHER} passt nicht zu {hookprobe._SAVED}"
)


def judge(told, lacks="", profile=""):
    return hookprobe.judge(told, lacks, profile)


@pytest.mark.parametrize("told", [REACHED, NO_DAEMON])
def test_a_hook_that_libvirt_calls(told):
    assert judge(told) is None


@pytest.mark.parametrize(
    "told, lacks, cause, remedy",
    [
        (NOT_CALLED, "", "runs without", "systemctl reload libvirtd"),
        (NOT_CALLED, "is not there", "50-kvmlun is not there", "reinstall"),
        (NOT_CALLED, "can't be executed", "50-kvmlun can't be executed", "reinstall"),
        (BROKEN, "", "fails: the hook is broken", "reinstall"),
        (TRACEBACK, "", "No module named", "reinstall"),
        (CANNOT, "", "can't execute", "reinstall"),
    ],
)
def test_a_hook_that_does_not_do_its_work(told, lacks, cause, remedy):
    finding = judge(told, lacks)
    assert finding.check == "hook"
    assert cause in finding.cause and remedy in finding.remedy


def test_a_hook_that_apparmor_does_not_let_libvirt_execute():
    finding = judge(CANNOT, profile="libvirtd")
    assert finding.check == "apparmor" and "profile libvirtd" in finding.cause


@pytest.mark.parametrize(
    "told",
    [
        "error: failed to connect to the hypervisor",
        "",
        f"{_CALLED}1: go away".replace("50-kvmlun", "90-other"),
    ],
)
def test_what_tells_nothing_of_our_hook(told):
    with pytest.raises(errors.Storage):
        judge(told)


def test_the_saved_domain_is_one():
    saved = hookprobe.saved()
    # virQEMUSaveHeader: its version, the length of the XML with its end.
    assert (
        saved[:16] == b"LibvirtQemudSave"
        and len(saved) == 92 + struct.unpack("=I", saved[20:24])[0]
    )
    assert struct.unpack("=I", saved[16:20])[0] == 2 and saved.endswith(b"\0")
    image, other = domxml.parse(saved[92:-1]), domxml.parse(hookprobe.other().encode())
    assert image.name == other.name == hookproto.PROBE
    assert image.uuid != other.uuid


def test_the_hook_asks_kvmlund_about_it(tmp_path, monkeypatch):
    monkeypatch.setattr(hook, "WWIDS", str(tmp_path / "none"))
    assert hook.concerns(hookprobe.other().encode())
