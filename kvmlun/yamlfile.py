"""YAML as a tree that remembers its lines. The only module that imports yaml."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from . import errors


@dataclass(frozen=True)
class Node:
    """A value in a file, with the place an error about it names."""

    file: Path
    line: int
    key: str
    value: object  # str, int, float, bool, None, list[Node] or dict[str, Node]

    def error(self, problem: str) -> errors.Config:
        where = f"{self.file}:{self.line}"
        return errors.Config(
            f"{where}: {self.key}: {problem}" if self.key else f"{where}: {problem}"
        )

    def mapping(self, allowed: frozenset[str] | None = None) -> dict[str, Node]:
        """Return a mapping's members (an empty value counts as none); refuse keys not `allowed`."""
        value = {} if self.value is None else self.value
        if not isinstance(value, dict):
            raise self.error("must be a mapping of keys to values")
        for key, node in value.items():
            if allowed is not None and key not in allowed:
                raise node.error(f"unknown key; known are {', '.join(sorted(allowed))}")
        return value

    def items(self) -> list[Node]:
        if not isinstance(self.value, list):
            raise self.error("must be a list, like [10.0.0.1]")
        return self.value

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.error("must be text")
        return self.value

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.error("must be true or false")
        return self.value

    def seconds(self) -> float:
        if (
            isinstance(self.value, bool)
            or not isinstance(self.value, int | float)
            or self.value < 0
        ):
            raise self.error("must be a number of seconds")
        return float(self.value)


def load(file: Path) -> Node:
    """Read a YAML file; raises errors.Config with file and line."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.Config(f"{file}: cannot be read: {error}") from error
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return Node(file, 1, "", None)
        return _node(loader, file, "", root)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise errors.Config(f"{file}:{line}: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise errors.Config(f"{file}: {error}") from error
    except RecursionError:
        raise errors.Config(f"{file}: nested too deeply") from None
    finally:
        loader.dispose()


def _node(loader: yaml.SafeLoader, file: Path, key: str, node: yaml.Node) -> Node:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        return Node(file, line, key, dict(_members(loader, file, key, node)))
    if isinstance(node, yaml.SequenceNode):
        items = [_node(loader, file, f"{key}[{i}]", item) for i, item in enumerate(node.value)]
        return Node(file, line, key, items)
    return Node(file, line, key, loader.construct_object(node))


def _members(
    loader: yaml.SafeLoader, file: Path, key: str, node: yaml.MappingNode
) -> Iterator[tuple[str, Node]]:
    seen: set[str] = set()
    for name_node, value in node.value:
        name = str(name_node.value)
        member = _node(loader, file, f"{key}.{name}".lstrip("."), value)
        if name in seen:
            raise member.error("is given twice")
        seen.add(name)
        yield name, member
