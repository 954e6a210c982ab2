"""The hook: which calls reach the daemon, and what its answer becomes."""

import json
import os
import socket
import struct
import subprocess
import syslog
import threading
import time
from pathlib import Path

import pytest

from kvmlun import hook, hookproto, links
from kvmlun.hookserver import Header, _answer

from .worlds import BY_PATH, OTHER_WWID, UUID, WWID

NAME = 'vm 1 "\u00fc" \\ \n \U0001f4be'
FAST = Path(__file__).resolve().parents[2] / "hooks/qemu"


def xml(link, uuid=UUID):
    disk = f"<disk type='block'><source dev='{link}'/><target dev='vda'/></disk>" if link else ""
    return f"<domain><name>vm1</name><uuid>{uuid}</uuid><devices>{disk}</devices></domain>".encode()


def granted():
    return json.dumps(_answer("")).encode()


class Daemon:
    """A socket that answers like kvmlund, each time with the next reply; keeps what it was sent."""

    def __init__(self, path, *replies):
        self.received = b""
        self.calls = 0
        self._replies = replies
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        for reply in self._replies:
            connection, _ = self._socket.accept()
            with connection:
                self.received = b"".join(iter(lambda: connection.recv(65536), b""))
                self.calls += 1
                try:
                    connection.sendall(reply)
                except OSError:
                    pass

    def header(self):
        self._thread.join(5)
        (length,) = struct.unpack(">I", self.received[:4])
        return Header.parse(self.received[4 : 4 + length]), self.received[4 + length :]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Have the hook use sockets and files below a temporary folder."""
    path = tmp_path / "s"
    monkeypatch.setattr(hookproto, "SOCKET", str(path))
    monkeypatch.setattr(hook, "WWIDS", str(tmp_path / "wwids"))
    monkeypatch.setattr(hookproto, "BYPASS", str(tmp_path / "bypass"))
    monkeypatch.setattr(hookproto, "ARRIVING", str(tmp_path / "arriving"))
    return tmp_path


def call(operation, link=WWID.link):
    return hook.main([NAME, operation, "begin", "-"], xml(link))


@pytest.mark.parametrize("operation", ["prepare", "start", "migrate", "restore"])
def test_an_asked_operation_gets_argv_and_xml_through(place, operation):
    (place / "wwids").write_text(f"{WWID}\n")
    daemon = Daemon(place / "s", granted())
    assert call(operation) == 0
    header, sent = daemon.header()
    assert (header.op, header.name, header.extra) == (operation, NAME, "-")
    assert sent == xml(WWID.link) and header.boottime > 0


def test_a_domain_that_may_arrive_is_asked_for_when_it_has_started(place):
    (place / "wwids").write_text(f"{WWID}\n")
    (place / "arriving").mkdir()
    assert call("started") == 0, "nobody answers, and nobody has to"
    (place / "arriving" / UUID).touch()
    assert call("started") == 1
    daemon = Daemon(place / "s", granted())
    assert call("started") == 0
    assert daemon.header()[0].deadline == hookproto.STARTED_SECONDS


def test_a_refusal_is_one_line(place, capsys):
    (place / "wwids").write_text(f"{WWID}\n")
    Daemon(place / "s", json.dumps({"v": 1, "ok": False, "line": "two\nlines"}).encode())
    assert call("prepare") == 1
    assert capsys.readouterr().err == "kvmlun: two lines\n"


@pytest.mark.parametrize("reply", [b"[]", b"{}", b'{"ok": "yes"}', b"\xff"])
def test_a_broken_answer_refuses(place, reply, capsys):
    (place / "wwids").write_text(f"{WWID}\n")
    Daemon(place / "s", reply)
    assert call("prepare") == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_daemon_that_dies_is_asked_again(place):
    (place / "wwids").write_text(f"{WWID}\n")
    daemon = Daemon(place / "s", b"", granted())
    assert call("prepare") == 0
    assert daemon.header()[1] == xml(WWID.link) and daemon.calls == 2


def test_a_daemon_that_dies_each_time_refuses(place, capsys):
    (place / "wwids").write_text(f"{WWID}\n")
    Daemon(place / "s", b"", b"", b"")
    assert call("prepare") == 1
    assert "ended 3 times without an answer" in capsys.readouterr().err


def test_without_a_daemon_a_lun_is_refused_and_the_remedy_named(place, capsys):
    (place / "wwids").write_text(f"{WWID}\n")
    assert call("prepare") == 1
    assert "systemctl start kvmlund" in capsys.readouterr().err


@pytest.mark.parametrize("operation", ["started", "reconnect", "stopped", "release"])
def test_what_must_not_fail_does_not(place, operation):
    assert call(operation) == 0


def test_a_release_is_told_without_waiting(place):
    daemon = Daemon(place / "s", b"")
    assert call("release") == 0
    assert daemon.header()[0].op == "release"


def test_unknown_operations_are_none_of_our_business(place):
    assert call("attach") == 0


def test_a_missing_link_that_nobody_knows_needs_no_daemon(place):
    (place / "wwids").write_text(f"{OTHER_WWID}\n")
    assert call("prepare") == 0


def test_a_missing_link_is_refused_where_even_the_catalog_is_missing(place):
    assert call("prepare") == 1


def test_break_glass(place, monkeypatch):
    logged = []
    monkeypatch.setattr(syslog, "syslog", lambda _level, text: logged.append(text))
    (place / "wwids").write_text(f"{WWID}\n")
    (place / "bypass").mkdir()
    (place / "bypass" / UUID).touch()
    assert call("prepare") == 0
    assert "WITHOUT" in logged[0]


def test_what_is_no_uuid_bypasses_nothing(place):
    (place / "bypass").mkdir()
    (place / "bypass" / "x").touch()
    for uuid in ("", ".", "..", "../bypass/x"):
        assert hook.main([NAME, "prepare", "begin", "-"], xml(WWID.link, uuid)) == 1


def metadata(wwid):
    return f"""<domain><metadata><kvmlun:domain xmlns:kvmlun="https://kvmlun.github.io/ns/domain/1">
      <kvmlun:disk wwid="{wwid}"/></kvmlun:domain></metadata><devices><disk>""".encode()


def test_a_lun_below_an_overlay_is_ours_by_the_metadata_alone(place):
    below = metadata(WWID).replace(b"wwid=", b"overlay='yes' wwid=")
    assert b"overlay" in below
    assert hook.concerns(below + xml(""))
    assert not hook.concerns(metadata(WWID) + xml(""))


@pytest.mark.parametrize("link", [WWID.link, WWID.link.replace("wwn-0x", "scsi-3")])
@pytest.mark.parametrize("judged", [links.UNSEEN, links.LOCAL])
def test_a_link_to_no_iscsi_disk_is_ours_if_catalog_or_metadata_know_it(
    place, monkeypatch, link, judged
):
    monkeypatch.setattr(links, "judge", lambda _link: judged)
    (place / "wwids").write_text(f"{OTHER_WWID}\n")
    assert not hook.concerns(xml(link))
    assert hook.concerns(metadata(WWID) + xml(link))
    assert not hook.concerns(metadata(OTHER_WWID) + xml(link))
    (place / "wwids").write_text(f"{OTHER_WWID}\n{WWID}\n")
    assert hook.concerns(xml(link))


def test_a_local_disk_needs_no_daemon_whatever_its_name(place, monkeypatch):
    monkeypatch.setattr(links, "judge", lambda _link: links.LOCAL)
    for name in ("dm-name-vg-a", "ata-6", "dm-uuid-LVM-0", "scsi-SATA_1", WWID.link[-4:]):
        assert not hook.concerns(metadata(WWID) + xml(f"/dev/disk/by-id/{name}"))


def test_a_by_path_link_is_ours_by_its_name(place):
    (place / "wwids").write_text("")
    assert hook.concerns(xml(BY_PATH))
    assert not hook.concerns(xml(f"{BY_PATH}-part1"))
    assert not hook.concerns(xml("/dev/disk/by-path/pci-0000:00:1f.2-ata-1"))


def test_the_fast_path_prints_nothing_and_imports_no_module_of_ours(tmp_path):
    """It must work where the package is broken: here there is no package at all."""
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    done = subprocess.run(
        ["/usr/bin/env", "-i", "python3", "-I", "-S", FAST, "vm1", "prepare", "begin", "-"],
        input=xml("/dev/vg/lv"), capture_output=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("change", [{"v": 7}, {"op": 1}, {"deadline": "x"}, {"boottime": None}])
def test_a_malformed_header_is_refused(change):
    good = {"v": 1, "op": "prepare", "subop": "begin", "extra": "-", "name": "x",
            "boottime": 1.0, "deadline": 45.0}  # fmt: skip
    Header.parse(json.dumps(good).encode())
    with pytest.raises(ValueError):
        Header.parse(json.dumps({**good, **change}).encode())


@pytest.mark.parametrize("operation, code", [("prepare", 1), ("started", 0), ("reconnect", 0)])
@pytest.mark.parametrize("source", [f"dev='{WWID.link}'", "pool='a' volume='unit:0:0:0'"])
def test_a_broken_package_kills_no_running_guest(tmp_path, operation, code, source):
    broken = tmp_path / "hook"
    broken.write_text(FAST.read_text().replace("/usr/lib/python3/dist-packages", str(tmp_path)))
    (tmp_path / "kvmlun").mkdir()
    (tmp_path / "kvmlun/hook.py").write_text("import nonsense")
    done = subprocess.run(
        ["python3", "-I", "-S", broken, "vm1", operation, "begin", "-"],
        input=f"<domain><disk><source {source}/></disk></domain>".encode(), capture_output=True,
    )  # fmt: skip
    assert done.returncode == code and done.stdout == b""
    assert len(done.stderr.splitlines()) == 1


def test_an_arrival_is_refused_when_it_has_started(tmp_path):
    """libvirt sees what kvmlund has answered."""
    fast = tmp_path / "hook"
    fast.write_text(FAST.read_text().replace("/usr/lib/python3/dist-packages", str(tmp_path)))
    (tmp_path / "kvmlun").mkdir()
    (tmp_path / "kvmlun/hook.py").write_text("def main(argv, xml): return 1")
    argv = ["python3", "-I", "-S", fast, "vm1", "started", "begin", "-"]
    assert subprocess.run(argv, input=xml(WWID.link)).returncode == 1


@pytest.mark.parametrize("uuid", ["..", ".", "a", "../bypass/a", "\0"])
def test_break_glass_is_for_one_uuid(place, uuid):
    (place / "wwids").write_text(f"{WWID}\n")
    (place / "bypass").mkdir()
    (place / "bypass" / "a").touch()
    assert hook.main([NAME, "prepare", "begin", "-"], xml(WWID.link, uuid)) == 1


def test_a_pools_name_that_no_file_can_have(place):
    assert not hook.concerns(b"<source pool='a\0b' volume='unit:0:0:0'/>")


@pytest.mark.parametrize("operation, code", [("prepare", 1), ("started", 0)])
def test_xml_that_is_too_large_is_refused_and_not_read_to_its_end(tmp_path, operation, code):
    """libvirt itself takes no text above 4 MiB from a client (REMOTE_STRING_MAX)."""
    here = tmp_path / "hook"
    package = str(FAST.parents[1])
    here.write_text(FAST.read_text().replace("/usr/lib/python3/dist-packages", package))
    with subprocess.Popen(
        ["python3", "-I", "-S", here, "vm1", operation, "begin", "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as hooked:  # fmt: skip
        sent = 0
        with pytest.raises(BrokenPipeError):
            while sent < 100 << 20:
                sent += os.write(hooked.stdin.fileno(), b"x" * 65536)
        out, err = hooked.stdout.read(), hooked.stderr.read()
    assert (hooked.returncode, out) == (code, b"") and sent < 17 << 20
    assert err == (b"kvmlun: the domain XML is larger than 16 MiB\n" if code else b"")


def test_many_links_take_no_longer_each(place):
    """A client of libvirt may define any number of disks: a look at each must be cheap."""
    (place / "wwids").write_text(f"{WWID}\n")
    links = (f"<source dev='/dev/disk/by-id/wwn-0x{i:032x}'/>" for i in range(10**5))
    many = metadata(WWID) + "".join(links).encode()
    began = time.process_time()
    assert not hook.concerns(many)
    assert time.process_time() - began < 5
