"""Metrics of a real host, as node_exporter and a scrape get them."""

import subprocess

import pytest

from tests.lab import debs, machine, paths, wait_for
from tests.lab.stage import Stage

pytestmark = pytest.mark.one_host
ONLY_KVMLUN = "only kvmlun tells metrics"

FOLDER, SOCKET, PORT = "/var/lib/lab-metrics", "/run/kvmlun/metrics.sock", "127.0.0.1:9742"
EXPORTER = "/usr/local/lib/kvmlun-lab/node_exporter"
REFUSED = 'kvmlun_refusals_total{cause="refused",operation="prepare"}'


def scrape(host: machine.Machine, accept: str = "") -> str:
    """Ask at the socket; return the head and the text."""
    request = f"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n"
    return host.run(f"socat -t 20 - UNIX-CONNECT:{SOCKET}", input=request).out


def value(text: str, series: str) -> float:
    return next(float(x.split()[-1]) for x in text.splitlines() if x.startswith(f"{series} "))


def get(host: machine.Machine, address: str) -> str:
    program = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
    url = f"http://{address}/metrics"
    return host.run(["python3", "-c", program, url], check=False).out


@pytest.fixture
def host(s: Stage) -> machine.Machine:
    """One whose node_exporter, which is not root, reads the folder."""
    host = s.kvms[0]
    program = debs.unpacked(paths.cache(), "prometheus-node-exporter")
    host.put(program / "usr/bin/prometheus-node-exporter", EXPORTER, mode=0o755)
    host.run(f"install -d -o nobody {FOLDER}")
    s.peer.configure(host, metrics_folder=FOLDER, metrics_listen=SOCKET)
    return host


@pytest.fixture
def node_exporter(host: machine.Machine):
    """Its address."""
    only = f"--collector.disable-defaults --collector.textfile.directory={FOLDER}"
    host.run(
        f"systemd-run --unit lab-exporter --uid nobody {EXPORTER} {only} --collector.textfile"
        " --web.listen-address=127.0.0.1:9100"
    )
    yield "127.0.0.1:9100"
    host.run("systemctl stop lab-exporter; systemctl reset-failed lab-exporter", check=False)


def test_a_start_and_a_refusal_are_told(s: Stage, host, node_exporter: str) -> None:
    """By the file, by the socket and by a port, and by none of them once kvmlund has ended."""
    vm = s.vm("vm1", [s.volume("vm1")])
    vm.start(host, writing=False)
    host.run(["virsh", "define", "/dev/stdin"], input=s.twin(vm, "vm2"))
    assert host.run("virsh start vm2", check=False).rc != 0
    text = scrape(host, "application/openmetrics-text; version=1.0.0")
    assert "\r\nContent-Type: application/openmetrics-text" in text and text.endswith("# EOF\n")
    assert value(text, 'kvmlun_sessions{owned="true",state="LOGGED_IN"}') == 1
    assert value(text, 'kvmlun_luns{state="in-use"}') == value(text, REFUSED) == 1
    assert value(text, "kvmlun_login_duration_seconds_count") == 1
    assert value(text, 'kvmlun_operation_duration_seconds_count{operation="prepare"}') == 2
    promtool = debs.unpacked(paths.cache(), "prometheus") / "usr/bin/promtool"
    plain = scrape(host).partition("\r\n\r\n")[2]
    checked = subprocess.run([promtool, "check", "metrics"], input=plain.encode(), check=False)
    assert checked.returncode == 0
    told = wait_for("the file", lambda: f"{REFUSED} 1\n" in get(host, node_exporter), 30)
    assert told and value(get(host, node_exporter), "node_textfile_scrape_error") == 0
    s.peer.configure(host, metrics_folder=FOLDER, metrics_listen=PORT)
    wait_for("the port", lambda: "kvmlun_libvirt_up 1" in get(host, PORT), 20)
    assert host.run(f"test -e {SOCKET}", check=False).rc != 0
    vm.destroy(host)
    s.wait_clean()
    host.run(["systemctl", "stop", "kvmlund"])
    assert not host.run(f"ls {FOLDER}").out and not get(host, PORT)


@pytest.mark.campaign
def test_a_session_that_drops_is_told(s: Stage, host) -> None:
    vm = s.vm("vm1", [s.volume("vm1")])
    vm.start(host)
    with host.cut("san_a"):
        wait_for("the drop", lambda: value(scrape(host), "kvmlun_session_drops_total") == 1, 60)
        assert value(scrape(host), 'kvmlun_luns{state="down"}') == 1
        assert value(scrape(host), 'kvmlun_paths{state="down"}') == 1
    wait_for("the session", lambda: value(scrape(host), 'kvmlun_luns{state="in-use"}') == 1, 60)
    vm.wait_writes(host)
    vm.destroy(host)
    s.wait_clean()
    # The end of a session is no drop.
    assert value(scrape(host), "kvmlun_session_drops_total") == 1
    vm.check_data(s.san)
