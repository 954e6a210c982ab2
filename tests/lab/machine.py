"""A host of a running lab."""

import contextlib
import logging
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.lab import errors, remote, spec, uml, wait

log = logging.getLogger("kvmlun.lab")

REACH_TIMEOUT = 120
SETTLE_TIMEOUT = 180
INSTALLED = "/var/lib/lab/installed"
_NO_ROUTE = """\
[Unit]
DefaultDependencies=no
After=lab-host.service
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=ip route add unreachable {address}
[Install]
WantedBy=sysinit.target
"""


class Machine:
    def __init__(self, kernel: uml.Kernel, connection: remote.Connection) -> None:
        self.kernel = kernel
        self.connection = connection

    @property
    def spec(self) -> spec.Host:
        return self.kernel.host

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def initiator(self) -> str:
        return f"iqn.2026-11.io.github.kvmlun.lab:{self.name}"

    def __repr__(self) -> str:
        return f"Machine({self.name})"

    def address(self, network: str = "mgmt", ipv6: bool = False) -> str:
        net = spec.network(network)
        return net.address6(self.spec.octet) if ipv6 else net.address(self.spec.octet)

    # Commands and files

    def run(
        self,
        command: remote.Command,
        timeout: float = 60,
        check: bool = True,
        input: str | bytes | None = None,
    ) -> remote.Result:
        """Run argv, or a line for the shell; raise CommandFailed, CommandTimedOut."""
        return self.connection.run(command, timeout, check, input)

    def spawn(self, command: remote.Command) -> remote.Spawned:
        return self.connection.spawn(command)

    def put(self, content: bytes | str | Path, path: str, mode: int = 0o644) -> None:
        """Write content (a Path: that local file) to path there, making its folders.

        At any moment there is the old file or the new one, also if another run puts it as well.
        """
        if isinstance(content, Path):
            content = content.read_bytes()
        folder, made = shlex.quote(str(Path(path).parent)), f"{shlex.quote(path)}.$$"
        self.run(
            f"mkdir -p {folder} && cat >{made} && chmod {mode:o} {made} && "
            f"mv {made} {shlex.quote(path)}",
            input=content,
        )

    def get(self, path: str, timeout: float = 60) -> bytes:
        return self.output(["cat", path], timeout)

    def output(self, command: remote.Command, timeout: float = 60) -> bytes:
        """Like run(), for output that is not text."""
        rc, out, err = self.connection.raw(command, timeout, b"")
        if rc != 0:
            line = remote.shell_line(command)
            raise remote.CommandFailed(self.name, line, rc, "", remote.decode(err))
        return out

    def install(self, package: Path, timeout: float = 180) -> None:
        """Install a local .deb; what it depends on has to be in the image."""
        path = f"/tmp/{package.name}"
        self.put(package, path)
        self.run(["rm", "-f", INSTALLED])
        # A test's own configuration stays, also where the package brings another one.
        dpkg = "DEBIAN_FRONTEND=noninteractive dpkg --force-confold -i"
        self.run(f"{dpkg} {shlex.quote(path)}", timeout)
        self.put(package.name.encode(), INSTALLED)

    def has(self, package: Path) -> bool:
        """Tell whether this very .deb was installed last, and still is."""
        name = package.name.partition("-")[0]
        status = f"dpkg-query -W -f '${{db:Status-Abbrev}}' {name}"
        line = f'test "$(cat {INSTALLED})" = {shlex.quote(package.name)} && {status} | grep -q ^ii'
        return self.run(line, check=False).rc == 0

    # Daemons

    def main_pid(self, unit: str) -> str:
        return self.run(["systemctl", "show", "-P", "MainPID", unit]).out.strip()

    def kill_daemon(self, unit: str) -> None:
        """SIGKILL, without waiting for what systemd does then."""
        self.run(["kill", "-9", self.main_pid(unit)])

    @contextlib.contextmanager
    def frozen(self, unit: str) -> Iterator[str]:
        """Keep a daemon from running; gives its pid. It may be replaced meanwhile."""
        pid = self.main_pid(unit)
        self.run(["kill", "-STOP", pid])
        try:
            yield pid
        finally:
            self.run(["kill", "-CONT", pid], check=False)

    # Power

    def is_on(self) -> bool:
        return bool(self.kernel.pids())

    def boot_id(self) -> str:
        return self.run(["cat", "/proc/sys/kernel/random/boot_id"]).out.strip()

    def launch(self) -> None:
        """Power on, without waiting."""
        self.connection.close()
        self.kernel.start()

    def start(self) -> None:
        """Power on with the disk as it was left, and wait until booted."""
        log.info("%s: start", self.name)
        self.launch()
        self.wait_ready()

    def wait_reachable(self, timeout: float = REACH_TIMEOUT) -> None:
        def reached() -> bool:
            if self._has_stopped():
                raise errors.LabError(f"{self.name} stopped:\n{self.kernel.console_tail()}")
            return self.connection.open()

        wait.wait_for(f"ssh to {self.name}", reached, timeout)
        log.info("%s: reachable", self.name)

    def _has_stopped(self) -> bool:
        """Its kernel executes itself anew at its start, and has no command line in that moment."""
        try:
            wait.wait_for(f"the kernel of {self.name}", self.is_on, 1)
        except wait.TimedOut:
            return True
        return False

    def wait_ready(self) -> None:
        """Wait until the host is reachable and has started all it starts."""
        self.wait_reachable()
        done = self.run("systemctl is-system-running --wait", SETTLE_TIMEOUT, check=False)
        state = done.out.strip()
        if state != "running":
            units = self.run("systemctl --failed --no-legend --plain", check=False).out.strip()
            raise errors.LabError(f"{self.name} is {state}: {units}")
        log.info("%s: running", self.name)

    def kill(self) -> None:
        """A power cut."""
        log.info("%s: kill", self.name)
        self._remove_power()

    def poweroff(self) -> None:
        log.info("%s: power off", self.name)
        self._shut_down("poweroff")

    def reboot(self) -> None:
        log.info("%s: reboot", self.name)
        self._shut_down("reboot")
        self.start()

    def _shut_down(self, verb: str) -> None:
        # The connection may end before the answer comes.
        self.run(["systemctl", "--no-block", verb], check=False)
        try:
            self.kernel.wait_gone()
        finally:
            self._remove_power()

    def _remove_power(self) -> None:
        self.kernel.kill()
        self.connection.close()

    def freeze(self) -> None:
        log.info("%s: freeze", self.name)
        self.kernel.freeze()

    def thaw(self) -> None:
        log.info("%s: thaw", self.name)
        self.kernel.thaw()

    # Networks

    @contextlib.contextmanager
    def cut(self, network: str) -> Iterator[None]:
        """Pull a network's cable, and put it back at the end."""
        where = self.spec, spec.network(network)
        log.info("%s: cut %s", self.name, network)
        self.kernel.namespace.cut(*where)
        try:
            yield
        finally:
            log.info("%s: restore %s", self.name, network)
            self.kernel.namespace.restore(*where)

    @contextlib.contextmanager
    def without_route(self, address: str) -> Iterator[None]:
        """Have no way to an address, from the next boot on and before anything asks for it."""
        unit = "/etc/systemd/system/lab-route.service"
        self.put(_NO_ROUTE.format(address=address).encode(), unit)
        self.run("systemctl enable lab-route")
        try:
            yield
        finally:
            self.run(f"systemctl disable lab-route; rm {unit}; systemctl daemon-reload")
            self.run(f"ip route delete unreachable {address}", check=False)

    # Evidence

    def collect(self, folder: Path) -> None:
        """Write the console and, when the host answers, the journal of all its boots."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.kernel.console.exists():
            (folder / f"{self.name}.console").write_bytes(self.kernel.console.read_bytes())
        if self.is_on():
            with contextlib.suppress(remote.CommandFailed):
                journal = self.output("journalctl --no-pager -o short-precise", timeout=30)
                (folder / f"{self.name}.journal").write_bytes(journal)
