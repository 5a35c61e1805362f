"""expect.yaml: the requests to send, and the spans they must give. It belongs to the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cloudrun.errors import TopologyError
from cloudrun.yaml_source import YamlSource, read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE: Final = "expect.yaml"
_KEYS: Final = {"request": str, "service": str, "status": int, "spans": list}


@dataclass(frozen=True)
class Expected:
    """One request and what must come of it."""

    method: str
    path: str
    service: str
    status: int
    spans: tuple[str, ...]
    """Labels of the spans, each the parent of the next: `SERVER GET /items/{id}`."""

    @property
    def request(self) -> str:
        """The request line: `GET /items/1`."""
        return f"{self.method} {self.path}"


def load(project: Path) -> list[Expected]:
    """Read e2e/expect.yaml of the project. Raises `TopologyError`: one line for each mistake."""
    source = read_yaml(project / "e2e" / FILE)
    entries = source.data.get("requests")
    if not isinstance(entries, list) or not entries:
        raise TopologyError(source.problem(["requests"], "must be a list with at least one request"))
    problems = [problem for index, entry in enumerate(entries) for problem in _problems(source, index, entry)]
    if problems:
        raise TopologyError("\n".join(problems))
    return [
        Expected(
            method=entry["request"].split(" ")[0],
            path=entry["request"].split(" ")[1],
            service=entry.get("service", "api"),
            status=entry.get("status", 200),
            spans=tuple(entry.get("spans", ())),
        )
        for entry in entries
    ]


def _problems(source: YamlSource, index: int, entry: Any) -> Iterator[str]:
    path: tuple[str | int, ...] = ("requests", index)
    if not isinstance(entry, dict):
        yield source.problem(path, "must be a mapping with the key request")
        return
    for key, value in entry.items():
        if key not in _KEYS:
            yield source.problem((*path, key), f"is no key here: known are {', '.join(_KEYS)}")
        elif not isinstance(value, _KEYS[key]):
            yield source.problem((*path, key), f"must be of type {_KEYS[key].__name__}, got {value!r}")
    words = str(entry.get("request", "")).split(" ")
    if len(words) != 2 or not words[0].isupper() or not words[1].startswith("/"):  # noqa: PLR2004 (method and path)
        yield source.problem((*path, "request"), "must be a method and a path, such as GET /items/1")
