"""A lab: its network, its hosts, and all that is needed to take them down again."""

import contextlib
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.lab import (
    errors,
    images,
    machine,
    network,
    paths,
    preflight,
    processes,
    remote,
    san,
    spec,
    state,
    suites,
    uml,
)

log = logging.getLogger("kvmlun.lab")

KEEP = "KVMLUN_LAB_KEEP"


class Lab:
    """Invariant: all that exists of a lab is found by its name and its state file alone.

    As a context manager it takes the lab down at the end, unless KVMLUN_LAB_KEEP is set or the
    lab was up before.
    """

    def __init__(
        self, name: str = "kvmlun", hosts: Iterable[spec.Host] = spec.DEFAULT_HOSTS
    ) -> None:
        if not name.isalnum():
            raise errors.LabError(f"lab name {name!r} is not letters and digits")
        self.name = name
        self.wanted = tuple(hosts)
        self.created = False
        self.namespace = network.Namespace(f"kvmlun-lab-{name}")
        self._state = state.State(
            name, work=str(paths.cache() / "run" / name), key=str(paths.cache() / "id_ed25519")
        )
        self._machines: dict[str, machine.Machine] = {}
        self._san: san.San | None = None

    @classmethod
    def attach(cls, name: str = "kvmlun") -> "Lab":
        """The lab that is up already; LabError when there is none."""
        lab = cls(name, hosts=())
        if not lab._attach():
            raise errors.LabError(f"no lab {name} is up")
        return lab

    def __enter__(self) -> "Lab":
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        if self.created and not os.environ.get(KEEP):
            self.down()

    def __getitem__(self, name: str) -> machine.Machine:
        try:
            return self._machines[name]
        except KeyError:
            raise errors.LabError(f"no host {name} in lab {self.name}") from None

    @property
    def machines(self) -> list[machine.Machine]:
        return list(self._machines.values())

    @property
    def san(self) -> san.San:
        """The first SAN host, with this checkout's program on it."""
        if self._san is None:
            hosts = [host for host in self.machines if host.spec.role == "san"]
            if not hosts:
                raise errors.LabError(f"lab {self.name} has no SAN host")
            self._san = san.San(hosts[0])
            self._san.prepare()
        return self._san

    def up(self) -> None:
        """Boot the hosts that are not up yet; when that fails, what this call made is removed."""
        preflight.check()
        if self._attach():
            log.info("lab %s is up already: %s", self.name, " ".join(self._machines))
            self._extend()
        else:
            self._create()

    def _create(self) -> None:
        self.down()
        self._state.claim()
        try:
            self.namespace.create()
            self._boot(self.wanted)
            self._state.ready = True
            self._state.save()
            self.created = True
        except BaseException:
            if os.environ.get(KEEP):
                log.warning("lab %s failed and is left as it is (%s)", self.name, KEEP)
            else:
                self.down()
            raise
        log.info("lab %s is up", self.name)

    def _extend(self) -> None:
        missing = [host for host in self.wanted if host.name not in self._machines]
        try:
            self._boot(missing)
        except BaseException:
            for host in missing:
                self._remove(host)
            raise

    @contextlib.contextmanager
    def also(self, *hosts: spec.Host) -> Iterator[None]:
        """Have these hosts as well, for as long as they are needed."""
        missing = [host for host in hosts if host.name not in self._machines]
        try:
            self._boot(missing)
            yield
        finally:
            for host in missing:
                self._remove(host)

    def down(self) -> None:
        """Remove everything of this lab, also what another process left; nothing there is fine."""
        known = state.load(self.name) or self._state
        if known.folder.exists() or self.namespace.exists():
            log.info("lab %s: down", self.name)
        self.namespace.delete()
        processes.kill_all(f"the kernels of {self.name}", self._kernels)
        for folder in (Path(known.work), paths.RUN / self.name):
            if folder.exists():
                shutil.rmtree(folder)
        if paths.RUN.is_dir() and not any(paths.RUN.iterdir()):
            paths.RUN.rmdir()
        self._machines.clear()
        self._state.hosts.clear()
        self._san = None
        self.created = False

    def collect(self, folder: Path) -> None:
        log.info("journals and consoles go to %s", folder)
        for host in self.machines:
            host.collect(folder)

    def _attach(self) -> bool:
        known = state.load(self.name)
        if known is None:
            return False
        if known.is_being_made():
            raise errors.LabError(f"lab {self.name} is being made by process {known.creator}")
        if not (known.ready and self.namespace.exists() and self._kernels()):
            return False
        self._state = known
        for placed in known.hosts:
            self._machines[placed.name] = self._machine(placed.host, placed.image)
        return True

    def _boot(self, hosts: Iterable[spec.Host]) -> None:
        hosts = list(hosts)
        found = {name: str(images.image(suites.suite(name))) for name in {h.suite for h in hosts}}
        for host in hosts:
            image = found[host.suite]
            self._state.hosts.append(
                state.Placed(host.name, host.role, host.suite, host.mem, image)
            )
            self._machines[host.name] = self._machine(host, image)
        Path(self._state.work).mkdir(parents=True, exist_ok=True)
        self._state.save()
        for host in hosts:
            self.namespace.add_taps(host)
            log.info("%s: start (%s, %s)", host.name, host.role, host.suite)
            self._machines[host.name].launch()
        for host in hosts:
            self._machines[host.name].wait_ready()

    def _remove(self, host: spec.Host) -> None:
        removed = self._machines.pop(host.name, None)
        if removed is None:
            return
        removed.kill()
        self.namespace.delete_taps(host)
        removed.kernel.cow.unlink(missing_ok=True)
        self._state.hosts = [placed for placed in self._state.hosts if placed.name != host.name]
        self._state.save()

    def _machine(self, host: spec.Host, image: str) -> machine.Machine:
        folder = self._state.folder
        kernel = uml.Kernel(self.name, host, image, Path(self._state.work), folder, self.namespace)
        connection = remote.Connection(
            host.name,
            spec.MGMT.address(host.octet),
            Path(self._state.key),
            folder / f"{host.name}.ssh",
            self.namespace,
        )
        return machine.Machine(kernel, connection)

    def _kernels(self) -> list[int]:
        ours = f"umid=kvmlun-lab.{self.name}."
        return [
            pid
            for pid in processes.pids()
            if uml.KERNEL in (words := processes.argv(pid))
            and any(word.startswith(ours) for word in words)
        ]
