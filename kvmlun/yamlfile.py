"""YAML as a tree that remembers its lines. The only module that imports yaml."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from . import errors

_LARGEST = 1 << 20  # bytes of a file


@dataclass(frozen=True)
class Node:
    """A value in a file, with the place an error about it names."""

    file: Path
    line: int
    key: str
    value: object  # str, int, float, bool, None, list[Node] or dict[str, Node]
    span: tuple[int, int] = (0, 0)  # where it stands in the text

    def error(self, problem: str) -> errors.Config:
        where = f"{self.file}:{self.line}"
        return errors.Config(
            f"{where}: {self.key}: {problem}" if self.key else f"{where}: {problem}"
        )

    def plain(self) -> object:
        """Return the value without the places."""
        if isinstance(self.value, dict):
            return {key: member.plain() for key, member in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value

    def at(self, path: Iterable[str | int]) -> Node:
        """Return what is inside at these keys and indices; raises LookupError."""
        node = self
        for step in path:
            node = node.value[step]  # type: ignore[index]
        return node

    def members(self, key: str = "") -> dict[str, Node]:
        """Return the members of a mapping, or of the one at `key`; what is empty has none."""
        node = self.members().get(key) if key else self
        return node.value if node and isinstance(node.value, dict) else {}

    def items(self) -> list[Node]:
        return self.value if isinstance(self.value, list) else []


class _Loader(yaml.SafeLoader):
    """Counts the values, as aliases of aliases can stand for more than fits into any memory."""

    left = 100_000


def load(file: Path) -> Node:
    """Read a YAML file; raises errors.Config with file and line."""
    return parse(read(file), file)


def read(file: Path) -> str:
    """Return the text of a file as it is; raises errors.Config."""
    try:
        if not file.is_file():
            raise errors.Config(f"{file}: is no file")
        with open(file, "rb") as stream:
            data = stream.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise errors.Config(f"{file}: is larger than {_LARGEST >> 10} KiB")
        return data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.Config(f"{file}: cannot be read: {error}") from error


def replaced(text: str, node: Node, value: str) -> str:
    """Return the text that `node` is of with a string in its place."""
    begin, end = node.span
    return f"{text[:begin]}{json.dumps(value, ensure_ascii=False)}{text[end:]}"


def parse(text: str, file: Path) -> Node:
    """Read YAML that stands, or is to stand, in `file`; raises like load()."""
    loader = None
    try:
        loader = _Loader(text)
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
        if loader:
            loader.dispose()


def _node(loader: _Loader, file: Path, key: str, node: yaml.Node) -> Node:
    line = node.start_mark.line + 1
    loader.left -= 1
    if loader.left < 0:
        raise Node(file, line, "", None).error(f"more than {_Loader.left} values")
    if isinstance(node, yaml.MappingNode):
        return Node(file, line, key, dict(_members(loader, file, key, node)))
    if isinstance(node, yaml.SequenceNode):
        items = [_node(loader, file, f"{key}[{i}]", item) for i, item in enumerate(node.value)]
        return Node(file, line, key, items)
    try:
        value = loader.construct_object(node)
        # A ValueError as well: Python prints no number of more than 4300 digits.
        str(value)
        return Node(file, line, key, value, (node.start_mark.index, node.end_mark.index))
    except (ValueError, LookupError, AttributeError, ArithmeticError):
        # Whatever Python raises at a text that is not of its tag, as in !!int ''.
        raise Node(file, line, key, None).error(f"is no {node.tag.rpartition(':')[2]}") from None


def _members(
    loader: _Loader, file: Path, key: str, node: yaml.MappingNode
) -> Iterator[tuple[str, Node]]:
    seen: set[str] = set()
    for name_node, value in node.value:
        if not isinstance(name_node, yaml.ScalarNode):
            raise Node(file, name_node.start_mark.line + 1, key, None).error(
                "has a key that is no text"
            )
        name = str(name_node.value)
        member = _node(loader, file, f"{key}.{name}".lstrip("."), value)
        if name in seen:
            raise member.error("is given twice")
        seen.add(name)
        yield name, member


def dump(value: object) -> str:
    """Return YAML for people: in the order given, short lists on one line.

    Raises errors.Invalid for what YAML has no form for.
    """
    try:
        return str(
            yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=None)
        )
    except yaml.YAMLError as error:
        raise errors.Invalid(f"a value has no form in YAML: {error}") from error
    except RecursionError:
        raise errors.Invalid("nested too deeply") from None
