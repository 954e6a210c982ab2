"""The processes of one host: a user-mode Linux kernel and its children."""

import dataclasses
import os
import signal
import subprocess
from pathlib import Path

from tests.lab import commands, errors, network, processes, spec, suites, wait

KERNEL = "/usr/bin/linux.uml"
POWEROFF_TIMEOUT = 120


@dataclasses.dataclass(frozen=True)
class Kernel:
    lab: str
    host: spec.Host
    image: str
    work: Path
    folder: Path
    namespace: network.Namespace
    # More of its command line, which a test may change for the next boots.
    more: list[str] = dataclasses.field(default_factory=list, compare=False)

    @property
    def umid(self) -> str:
        # Names of labs and hosts have no dot, so that none is the beginning of another.
        return f"kvmlun-lab.{self.lab}.{self.host.name}"

    @property
    def cow(self) -> Path:
        return self.work / f"{self.host.name}.cow"

    @property
    def console(self) -> Path:
        return self.work / f"{self.host.name}.console"

    def pids(self) -> list[int]:
        word = f"umid={self.umid}"
        return [p for p in processes.pids() if {KERNEL, word} <= set(processes.argv(p))]

    def start(self) -> None:
        if self.pids():
            raise errors.LabError(f"{self.host.name} is running already")
        # --fork gives the kernel to init: neither Ctrl-C nor our end reaches it.
        argv = ["setsid", "--fork", *self._pinned, *self.namespace.enter, *self._command()]
        with self.console.open("ab") as console:
            subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=commands.ENVIRONMENT,
                check=True,
            )
        wait.wait_for(f"{self.host.name}'s kernel", self.pids, 10)

    def kill(self) -> None:
        """A power cut. The children outlive their kernel, so each process gets its own signal."""
        processes.kill_all(self.host.name, self.pids)

    def wait_gone(self) -> None:
        wait.wait_for(f"{self.host.name} to be off", lambda: not self.pids(), POWEROFF_TIMEOUT)

    def freeze(self) -> None:
        processes.send(self._untraced(), signal.SIGSTOP)

    def thaw(self) -> None:
        processes.send(self._untraced(), signal.SIGCONT)

    def console_tail(self, lines: int = 5) -> str:
        text = self.console.read_text(errors="replace") if self.console.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def _untraced(self) -> list[int]:
        """Without the user processes, which run only at the kernel's hand: a SIGSTOP for one of
        them would be seen by the kernel, its tracer, as a fault."""
        return [pid for pid in self.pids() if not processes.is_traced(pid)]

    @property
    def _pinned(self) -> list[str]:
        """A system call goes to the kernel's process and back: on one CPU that takes a quarter of
        the time (17 us against 69 us where CPUs are virtual), which halves a migration's."""
        cpus = sorted(os.sched_getaffinity(0))
        return ["taskset", "--cpu-list", str(cpus[self.host.octet % len(cpus)])]

    def _command(self) -> list[str]:
        host = self.host
        return [
            KERNEL,
            f"umid={self.umid}",
            f"uml_dir={self.folder}/uml/",
            f"mem={host.mem}",
            f"ubd0={self.cow},{self.image}",
            "root=/dev/ubda",
            "rootflags=noinit_itable",
            "rw",
            # Exit at a reboot too: a re-executed kernel finds its taps busy.
            "noreboot",
            "panic=1",
            *("con0=fd:0,fd:1", "con=null", "ssl=null"),
            *(
                f"vec{n}:transport=tap,ifname={host.tap(net)},mac={host.mac(net)},depth=128,gro=1"
                for n, net in enumerate(spec.NETWORKS)
            ),
            f"lab.name={host.name}",
            f"lab.octet={host.octet}",
            f"systemd.hostname={host.name}",
            *(f"systemd.mask={unit}" for unit in suites.MASKED_BY_ROLE[host.role]),
            *self.more,
        ]
