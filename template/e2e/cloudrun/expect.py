"""expect.yaml: the requests to send, and the spans they must give. It belongs to the user.

Which services call which stands in topology.yaml alone: `calls_seen` finds those calls in traces.
"""

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

    from cloudrun.store import Span, Trace
    from cloudrun.topology import Topology

FILE: Final = "expect.yaml"
SCHEMA: Final = Path(__file__).with_name("expect.schema.json")


@dataclass(frozen=True)
class ExpectedSpan:
    """A span of one service, by kind and name."""

    service: str
    label: str
    """`SERVER GET /items/{id}`."""

    def __str__(self) -> str:
        return f"{self.service} {self.label}"

    def is_(self, span: Span) -> bool:
        """Tell whether `span` is such a span."""
        return not span.by_platform and (span.service, span.label) == (self.service, self.label)


@dataclass(frozen=True)
class Expected:
    """One request and what must come of it."""

    method: str
    path: str
    service: str
    status: int
    spans: tuple[ExpectedSpan, ...]
    """Each the parent of the next."""

    @property
    def request(self) -> str:
        """The request line: `GET /items/1`."""
        return f"{self.method} {self.path}"

    @property
    def services(self) -> set[str]:
        """The services that take part."""
        return {self.service, *(span.service for span in self.spans)}

    def path_in(self, trace: Trace) -> list[Span]:
        """Return the spans of `trace` that were expected; raises `LookupError` that names the first that is missing."""
        paths: list[list[Span]] = [[]]
        for expected in self.spans:
            longer = [
                [*path, span]
                for path in paths
                for span in (trace.children(path[-1].span_id) if path else trace.spans)
                if expected.is_(span)
            ]
            if not longer:
                below = f" below {paths[0][-1].service} {paths[0][-1].label}" if paths[0] else ""
                found = [f"{span.service} {span.label}" for span in trace.spans]
                raise LookupError(f"no span is {expected}{below}; there are {found}")
            paths = longer
        return paths[0]

    def is_in(self, trace: Trace) -> bool:
        """Tell whether all expected spans are there, and at least one."""
        try:
            self.path_in(trace)
        except LookupError:
            return False
        return bool(trace.own())


def load(project: Path, services: Iterable[str]) -> list[Expected]:
    """Read e2e/expect.yaml of the project, which has `services`.

    Raises `TopologyError`: one line for each mistake, with file, line, key and cure.
    """
    source = read_yaml(project / "e2e" / FILE)
    problems = [*schema_problems(source, SCHEMA)] or [*_unknown_services(source, list(services))]
    if problems:
        raise TopologyError("\n".join(problems))
    return [_expected(entry) for entry in source.data["requests"]]


def calls_seen(topology: Topology, traces: Iterable[Trace]) -> set[tuple[str, str]]:
    """Return the calls of topology.yaml, as caller and callee, that `traces` show.

    The callee's SERVER span is a child of the caller's CLIENT span, unless the callee is public: it takes nobody's word
    for who called, so that the trace is all they share.
    """
    seen = set()
    for trace in traces:
        spans = {span.span_id: span for span in trace.own()}
        callers = {span.service for span in spans.values() if span.kind == "CLIENT"}
        for span in spans.values():
            if span.kind != "SERVER":
                continue
            if not topology.trusts_callers(span.service):
                seen |= {(caller, span.service) for caller in callers}
            elif span.parent_id in spans and spans[span.parent_id].kind == "CLIENT":
                seen.add((spans[span.parent_id].service, span.service))
    return seen & {(name, callee) for name, service in topology.services.items() for callee in service.calls}


def _expected(entry: Mapping[str, Any]) -> Expected:
    method, _, path = entry["request"].partition(" ")
    service = entry.get("service", ENTRY)
    return Expected(method, path, service, entry.get("status", 200), tuple(_spans(service, entry.get("spans", ()))))


def _spans(service: str, texts: Iterable[str]) -> Iterator[ExpectedSpan]:
    """Read spans: each is of the same service as the one before it, unless the service stands in front."""
    for text in texts:
        first, _, rest = text.partition(" ")
        if first.islower():
            service = first
        yield ExpectedSpan(service, rest if first.islower() else text)


def _unknown_services(source: YamlSource, services: list[str]) -> Iterator[str]:
    there_are = f"there are {', '.join(services)}"
    for index, entry in enumerate(source.data["requests"]):
        name = entry.get("service", ENTRY)
        if name not in services:
            yield source.problem(["requests", index, "service"], f"there is no service {name}: {there_are}")
            continue
        for number, span in enumerate(_spans(name, entry.get("spans", ()))):
            if span.service not in services:
                path = ("requests", index, "spans", number)
                yield source.problem(path, f"there is no service {span.service}: {there_are}")
                break
