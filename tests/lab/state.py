"""What a lab writes down before it acts, so that any later process can find all of it."""

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

from tests.lab import errors, paths, processes, spec


@dataclasses.dataclass
class Placed:
    """A host of a running lab, on its image."""

    name: str
    role: str
    suite: str
    memory: str
    image: str

    @property
    def host(self) -> spec.Host:
        return spec.Host(self.name, self.role, self.suite, self.memory)


@dataclasses.dataclass
class State:
    name: str
    work: str
    key: str
    creator: int = 0
    creator_start: str = ""
    ready: bool = False
    hosts: list[Placed] = dataclasses.field(default_factory=list)

    @property
    def folder(self) -> Path:
        return paths.RUN / self.name

    def is_being_made(self) -> bool:
        made_by = processes.start_time(self.creator)
        return not self.ready and made_by != "" and made_by == self.creator_start

    def claim(self) -> None:
        """Create the lab's folder; refuse when it exists already."""
        self.creator = os.getpid()
        self.creator_start = processes.start_time(self.creator)
        paths.RUN.mkdir(exist_ok=True)
        try:
            self.folder.mkdir()
        except FileExistsError:
            raise errors.LabError(f"lab {self.name} exists already") from None
        self.save()

    def save(self) -> None:
        temporary = self.folder / "state.new"
        temporary.write_text(json.dumps(dataclasses.asdict(self), indent=1))
        temporary.rename(self.folder / "state.json")


def load(name: str) -> State | None:
    try:
        fields = json.loads((paths.RUN / name / "state.json").read_text())
    except FileNotFoundError:
        return None
    hosts = [Placed(**host) for host in fields.pop("hosts")]
    return State(**fields, hosts=hosts)


def labs() -> Iterator[State]:
    if paths.RUN.is_dir():
        for folder in paths.RUN.iterdir():
            found = load(folder.name)
            if found:
                yield found
