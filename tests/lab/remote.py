"""Commands on a host, over one ssh connection that stays open."""

import dataclasses
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.lab import commands, errors, network, wait

Command = str | Sequence[str]

CONNECT_TIMEOUT = 2
STOP_TIMEOUT = 10
COLUMNS = 60


@dataclasses.dataclass(frozen=True)
class Result:
    rc: int
    out: str
    err: str


class CommandFailed(errors.LabError):
    def __init__(self, host: str, command: str, rc: int | None, out: str, err: str) -> None:
        self.host, self.command, self.rc, self.out, self.err = host, command, rc, out, err
        super().__init__(f"{host}: {command}: {self.outcome}: {err.strip() or out.strip()}")

    @property
    def outcome(self) -> str:
        return f"exit {self.rc}"


class CommandTimedOut(CommandFailed):
    """The command may still be running on the host."""

    @property
    def outcome(self) -> str:
        return "no end within its time"


def at_a_terminal(command: str) -> str:
    """Return a command that runs another on a terminal of its own, COLUMNS wide."""
    return f"script -qefc 'stty cols {COLUMNS}; export TERM=xterm; {command}' /dev/null"


def shell_line(command: Command) -> str:
    return command if isinstance(command, str) else shlex.join(command)


@dataclasses.dataclass(frozen=True)
class Connection:
    """ssh as root to one host. Thread-safe: each command is a process of its own."""

    host: str
    address: str
    key: Path
    socket: Path
    namespace: network.Namespace

    def argv(self, *options: str) -> list[str]:
        settings = (
            f"ControlPath={self.socket}",
            f"ConnectTimeout={CONNECT_TIMEOUT}",
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "GlobalKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        )
        argv = [*self.namespace.enter, "ssh", "-F", "/dev/null", "-i", str(self.key)]
        for setting in settings:
            argv += ["-o", setting]
        return [*argv, *options, f"root@{self.address}"]

    def open(self) -> bool:
        """Start the connection that the commands share; False when the host does not answer."""
        self.close()
        done = subprocess.run(
            self.argv("-o", "ControlMaster=yes", "-N", "-f"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=commands.ENVIRONMENT,
            start_new_session=True,
        )
        return done.returncode == 0

    def close(self) -> None:
        if self.socket.exists():
            commands.run(self.argv("-O", "exit"), check=False)
            self.socket.unlink(missing_ok=True)

    def raw(self, command: Command, timeout: float, data: bytes) -> tuple[int, bytes, bytes]:
        line = shell_line(command)
        self._reopen()
        try:
            done = subprocess.run(
                [*self.argv(), "--", line],
                input=data,
                capture_output=True,
                env=commands.ENVIRONMENT,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as e:
            out, err = (decode(part or b"") for part in (e.stdout, e.stderr))
            raise CommandTimedOut(self.host, line, None, out, err) from None
        return done.returncode, done.stdout, done.stderr

    def run(
        self, command: Command, timeout: float, check: bool, stdin: str | bytes | None
    ) -> Result:
        data = stdin.encode() if isinstance(stdin, str) else stdin or b""
        rc, out, err = self.raw(command, timeout, data)
        result = Result(rc, decode(out), decode(err))
        if check and rc != 0:
            raise CommandFailed(self.host, shell_line(command), rc, result.out, result.err)
        return result

    def spawn(self, command: Command) -> "Spawned":
        self._reopen()
        return Spawned(self, command)

    def _reopen(self) -> None:
        if not self.socket.exists():
            self.open()


class Spawned:
    """A command in the background. Its output goes to files, so that it never waits for us."""

    def __init__(self, connection: Connection, command: Command) -> None:
        self._connection = connection
        self.command = shell_line(command)
        self._files = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        # ssh's shell leads a session of its own; its pid is what signals go to.
        line = f"echo $$; exec bash -c {shlex.quote(self.command)}"
        self._process = subprocess.Popen(
            [*connection.argv(), "--", line],
            stdin=subprocess.DEVNULL,
            stdout=self._files[0],
            stderr=self._files[1],
            env=commands.ENVIRONMENT,
            start_new_session=True,
        )
        self.pid = int(wait.wait_for(f"the start of {self.command}", self._first_line, 30))

    @property
    def out(self) -> str:
        """What it has written to stdout so far."""
        return self._read(0).partition("\n")[2]

    @property
    def err(self) -> str:
        return self._read(1)

    def poll(self) -> int | None:
        return self._process.poll()

    def wait(self, timeout: float = 60) -> Result:
        """Wait for its end; unlike run() no exit status is an error."""
        try:
            rc = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise CommandTimedOut(
                self._connection.host, self.command, None, self.out, self.err
            ) from None
        return Result(rc, self.out, self.err)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command and what it started."""
        line = f"kill -{int(number)} -- -{self.pid}"
        self._connection.run(line, STOP_TIMEOUT, check=False, stdin=None)

    def stop(self) -> Result:
        if self.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait(STOP_TIMEOUT)

    def _read(self, which: int) -> str:
        descriptor = self._files[which].fileno()
        # ssh writes at the offset that it shares with us: pread does not move it.
        return decode(os.pread(descriptor, os.fstat(descriptor).st_size, 0))

    def _first_line(self) -> str:
        line, end, _ = self._read(0).partition("\n")
        if not end and self.poll() is not None:
            raise CommandFailed(
                self._connection.host, self.command, self.poll(), "", self.err or "did not start"
            )
        return line if end else ""


def decode(data: bytes) -> str:
    return data.decode(errors="replace")
