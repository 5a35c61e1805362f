"""YAML with the line of every key, and no duplicate keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from cloudrun.errors import TopologyError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class YamlSource:
    """A YAML file that holds one mapping."""

    name: str
    """The file's name, as messages show it."""
    data: dict[str, Any]
    lines: dict[tuple[str | int, ...], int]
    """The line (from 1) of each key and list entry, by its path."""

    def problem(self, path: Sequence[str | int], text: str) -> str:
        """Return one line that names the file, the line, the key and what is wrong."""
        line = next(
            (self.lines[tuple(path[:end])] for end in range(len(path), -1, -1) if tuple(path[:end]) in self.lines), 1
        )
        key = ".".join(str(part) for part in path)
        return " ".join(f"{self.name}:{line}: {key + ': ' if key else ''}{text}".split())


def read_yaml(path: Path) -> YamlSource:
    """Read `path`; raises `TopologyError` when it is missing, is no YAML, no mapping, or has a key twice."""
    try:
        text = path.read_text(encoding="utf-8")
        _refuse_indirection(text, path.name)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except OSError as error:
        raise TopologyError(
            f"{path.name}: cannot be read ({error.strerror}): run this in the project's folder"
        ) from error
    except UnicodeDecodeError as error:
        raise TopologyError(f"{path.name}: is not UTF-8 text: save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise TopologyError(f"{path.name}:{line}: is not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise TopologyError(f"{path.name}: is not valid YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(data, dict) or not isinstance(node, yaml.MappingNode):
        raise TopologyError(f"{path.name}: must be a mapping of keys to values")
    lines: dict[tuple[str | int, ...], int] = {}
    _walk(node, (), lines, path.name)
    return YamlSource(path.name, data, lines)


def _refuse_indirection(text: str, file: str) -> None:
    """Raise for aliases and tags: they hide what a key holds, and can make a small file endless."""
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        tag = getattr(event, "tag", None)
        if isinstance(event, yaml.AliasEvent) or tag is not None:
            what = f"tag {tag}" if tag is not None else f"alias *{getattr(event, 'anchor', '')}"
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise TopologyError(f"{file}:{line}: the {what} is not supported here: write the value itself")


def _walk(node: yaml.Node, path: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int], file: str) -> None:
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
                line = key_node.start_mark.line + 1
                raise TopologyError(f"{file}:{line}: {key_node.value!r:.40} is no name for a key: put it into quotes")
            key = (*path, str(key_node.value))
            line = key_node.start_mark.line + 1
            if key in lines:
                raise TopologyError(
                    f"{file}:{line}: {'.'.join(map(str, key))}: stands twice (first in line {lines[key]}): remove one"
                )
            lines[key] = line
            _walk(value_node, key, lines, file)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[*path, index] = item.start_mark.line + 1
            _walk(item, (*path, index), lines, file)
