"""expect.yaml: the requests to send, and the spans they must give. It belongs to the user."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cloudrun.errors import TopologyError
from cloudrun.topology import ENTRY
from cloudrun.topology_schema import schema_problems
from cloudrun.yaml_source import YamlSource, read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FILE: Final = "expect.yaml"
SCHEMA: Final = Path(__file__).with_name("expect.schema.json")


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


def load(project: Path, services: Iterable[str]) -> list[Expected]:
    """Read e2e/expect.yaml of the project, which has `services`.

    Raises `TopologyError`: one line for each mistake, with file, line, key and cure.
    """
    source = read_yaml(project / "e2e" / FILE)
    problems = [*schema_problems(source, SCHEMA)] or [*_unknown_services(source, list(services))]
    if problems:
        raise TopologyError("\n".join(problems))
    return [_expected(entry) for entry in source.data["requests"]]


def _expected(entry: Mapping[str, Any]) -> Expected:
    method, _, path = entry["request"].partition(" ")
    return Expected(method, path, entry.get("service", ENTRY), entry.get("status", 200), tuple(entry.get("spans", ())))


def _unknown_services(source: YamlSource, services: list[str]) -> Iterator[str]:
    for index, entry in enumerate(source.data["requests"]):
        name = entry.get("service", ENTRY)
        if name not in services:
            yield source.problem(
                ["requests", index, "service"], f"there is no service {name}: there are {', '.join(services)}"
            )
