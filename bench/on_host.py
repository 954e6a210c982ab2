"""Runs on a KVM host of the lab: times both ways of making a LUN ready, and the hook's fast path.

Standard library only. Reads a JSON request from standard input, writes JSON results.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

HOOK = "/etc/libvirt/hooks/qemu.d/50-kvmlun"
STOCK = Path("/run/udev/rules.d/50-kvmlun.rules")
POLL_SECONDS = 0.005
GONE_SECONDS = 60
IDLE_SECONDS = 0.5
WARM_UP = 2
HOOK_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


def run(*argv, text=""):
    done = subprocess.run(
        argv, input=text, capture_output=True, text=True, env=HOOK_ENVIRONMENT, cwd="/"
    )
    if done.returncode:
        sys.exit(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr}")


def timed(call):
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def wait_until(condition):
    deadline = time.monotonic() + GONE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("waited in vain")
        time.sleep(POLL_SECONDS)


def gone():
    return not os.listdir("/sys/class/iscsi_session") and not os.path.exists(request["link"])


def no_records():
    return not any(files for _, _, files in os.walk("/etc/iscsi/nodes"))


def ready_to_measure():
    """Have udev read its rules now, which it would else do at its next event, and end all work."""
    run("udevadm", "control", "--reload")
    run("udevadm", "trigger", "--settle", "--action=change", "/sys/class/mem/null")
    wait_until(idle)


def idle():
    """Tell whether the host does nothing for a while (proc(5), /proc/stat: idle is the fourth)."""

    def spent():
        times = [int(field) for field in open("/proc/stat").readline().split()[1:]]
        return times[3], sum(times)

    before = spent()
    time.sleep(IDLE_SECONDS)
    rest, total = (after - earlier for after, earlier in zip(spent(), before, strict=True))
    return rest >= 0.97 * total


def raw():
    """What an operator types, until the link is there, under the host's stock rules."""
    STOCK.parent.mkdir(exist_ok=True)
    STOCK.symlink_to("/dev/null")
    ready_to_measure()
    node = ("iscsiadm", "-m", "node", "-T", request["target"], "-p", request["portal"])

    def ready():
        run(*node, "-o", "new")
        run(*node, "--login")
        wait_until(lambda: os.path.exists(request["link"]))

    seconds = timed(ready)
    run("udevadm", "settle")
    run(*node, "--logout")
    run(*node, "-o", "delete")
    wait_until(gone)
    STOCK.unlink()
    return seconds


def prepare():
    """libvirt's call of the hook, from its start to its exit."""
    ready_to_measure()
    seconds = timed(lambda: run(HOOK, "bench", "prepare", "begin", "-", text=request["xml"]))
    assert os.path.exists(request["link"])
    run(HOOK, "bench", "release", "end", "-", text=request["xml"])
    wait_until(lambda: gone() and no_records())
    return seconds


def python():
    return timed(lambda: run("/usr/bin/python3", "-I", "-S", "-c", "pass", text=request["plain"]))


def not_ours():
    return timed(lambda: run(HOOK, "plain", "prepare", "begin", "-", text=request["plain"]))


def alternate(first, second, rounds):
    """Return seconds by name; the first rounds, which fill caches, do not count."""
    pairs = [(first(), second()) for _ in range(WARM_UP + rounds)][WARM_UP:]
    return {first.__name__: [a for a, _ in pairs], second.__name__: [b for _, b in pairs]}


request = json.load(sys.stdin)
print(json.dumps({
    **alternate(raw, prepare, request["rounds"]),
    **alternate(python, not_ours, request["rounds"] * 4),
}))  # fmt: skip
