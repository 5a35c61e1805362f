"""topology.yaml: the only description of the services, and its one checker."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cloudrun.errors import TopologyError
from cloudrun.topology_schema import schema_problems
from cloudrun.yaml_source import YamlSource, read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FILE: Final = "topology.yaml"
SCHEMA: Final = "topology.schema.json"
ENTRY: Final = "api"
"""The entry service: always there, always called so."""

SMALLEST: Final = 1e-9
"""Of numbers that are not 0: a smaller ratio keeps no trace in a lifetime."""
LONGEST_NAME: Final = 30
"""Of PROJECT-SERVICE, which is also the id of the service's account: https://cloud.google.com/iam/docs/service-accounts-create."""
MEMORY_FOR_CPU: Final = {"1": (128, 4096), "2": (128, 8192), "4": (2048, 16384), "6": (4096, 24576), "8": (4096, 32768)}
"""Least and most MiB of memory: https://cloud.google.com/run/docs/configuring/services/cpu."""
TAKEN_NAMES: Final = frozenset({"database", "db", "slow", "upstream"})
"""Their `<NAME>_URL` or `<NAME>_…` variables mean something else."""


@dataclass(frozen=True)
class Sampling:
    """What is kept."""

    ratio: float = 0.1
    keep_errors: bool = True
    keep_slower_than_ms: int = 1000
    max_traces_per_second: float = 100


@dataclass(frozen=True)
class Service:
    """One Cloud Run service."""

    name: str
    framework: str
    access: str = "public"
    ingress: str = "all"
    calls: tuple[str, ...] = ()
    publishes: tuple[str, ...] = ()
    database: str = "none"
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    min_instances: int = 0
    max_instances: int = 10
    concurrency: int = 80
    cpu: str = "1"
    memory: str = "512Mi"

    @classmethod
    def of(cls, name: str, keys: Mapping[str, Any]) -> Service:
        """Return the service `name`, of which topology.yaml says `keys`."""
        frozen: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in keys.items()
        }
        return cls(name, **frozen)

    @property
    def language(self) -> str:
        """`python`, `node` or `go`: the first part of the framework's name."""
        return self.framework.partition("-")[0]


@dataclass(frozen=True)
class Topology:
    """The whole system."""

    project: str
    region: str
    services: Mapping[str, Service]
    exporter: str = "sidecar"
    backend: str = "google"
    backend_headers_secret: str | None = None
    billing: str = "request"
    sampling: Sampling = field(default_factory=Sampling)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Topology:
        """Return what `data` says, the content of a topology.yaml; `load` checks it before."""
        known = {each.name: data[each.name] for each in fields(cls) if each.name in data}
        services = {name: Service.of(name, service) for name, service in data["services"].items()}
        return cls(**{**known, "services": services, "sampling": Sampling(**data.get("sampling", {}))})

    @property
    def direct(self) -> bool:
        """Whether services export by themselves, without a collector."""
        return self.exporter == "direct"

    @property
    def google(self) -> bool:
        """Whether traces are read in Google Cloud."""
        return self.backend == "google"

    def trusts_callers(self, name: str) -> bool:
        """Tell whether only services of this system call the service `name`."""
        called = any(name in service.calls for service in self.services.values())
        return called and self.services[name].access == "private"


def load(project: Path) -> Topology:
    """Read and check the topology of the project in `project`.

    Raises `TopologyError`: one line for each mistake, with file, line, key and cure.
    """
    source = read_yaml(project / FILE)
    problems = [*schema_problems(source, project / SCHEMA)] or [
        *_reference_problems(source),
        *_collector_problems(source, project),
    ]
    if problems:
        raise TopologyError("\n".join(problems))
    return Topology.of(source.data)


def _reference_problems(source: YamlSource) -> Iterator[str]:
    services: dict[str, dict[str, Any]] = source.data["services"]
    topics: dict[str, dict[str, Any]] = source.data.get("topics", {})
    yield from _number_problems(source)
    yield from _back_end_problems(source)
    for name, service in services.items():
        if name in TAKEN_NAMES:
            yield source.problem(
                ["services", name], f"{name} is taken by variables such as {name.upper()}_URL: choose another name"
            )
        yield from _service_problems(source, name, Service.of(name, service))
        yield from _target_problems(source, ("services", name, "calls"), service.get("calls", []), services)
        yield from _target_problems(source, ("services", name, "publishes"), service.get("publishes", []), topics)
    yield from _ingress_problems(source, services)
    for topic, options in topics.items():
        path = ("topics", topic, "subscribers")
        yield from _target_problems(source, path, options.get("subscribers", []), services)


def _ingress_problems(source: YamlSource, services: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Name internal services to which no way leads from outside, over services that call."""
    reached = {name for name, service in services.items() if service.get("ingress", "all") == "all"}
    on_the_way = list(reached)
    while on_the_way:
        found = {callee for callee in services[on_the_way.pop()].get("calls", []) if callee in services} - reached
        reached |= found
        on_the_way += found
    for name in services:
        if name not in reached:
            cure = "use ingress: all" if name == ENTRY else "let a service call it, or use ingress: all"
            yield source.problem(["services", name, "ingress"], f"internal, so nobody could reach it: {cure}")


def _service_problems(source: YamlSource, name: str, service: Service) -> Iterator[str]:
    path = ["services", name]
    full = f"{source.data['project']}-{name}"
    if len(full) > LONGEST_NAME:
        yield source.problem(path, f"{full} has more than {LONGEST_NAME} characters: choose a shorter name")
    if service.min_instances > service.max_instances:
        yield source.problem(
            [*path, "min_instances"], f"{service.min_instances} is more than max_instances, {service.max_instances}"
        )
    least, most = MEMORY_FOR_CPU[service.cpu]
    mebibytes = int(service.memory[:-2]) * (1024 if service.memory.endswith("Gi") else 1)
    if not least <= mebibytes <= most:
        yield source.problem(
            [*path, "memory"], f"{service.memory} does not fit cpu {service.cpu}: use {least}Mi to {most}Mi"
        )
    for variable in service.env.keys() & service.secrets.keys():
        yield source.problem([*path, "secrets", variable], "stands in env as well: remove one")


def _number_problems(source: YamlSource) -> Iterator[str]:
    for key, value in source.data.get("sampling", {}).items():
        if isinstance(value, float) and not (math.isfinite(value) and (value == 0 or value >= SMALLEST)):
            yield source.problem(["sampling", key], f"must be 0 or at least {SMALLEST}, got {value}")


def _back_end_problems(source: YamlSource) -> Iterator[str]:
    google = source.data.get("backend", "google") == "google"
    if not google and source.data.get("exporter", "sidecar") != "direct":
        yield source.problem(["backend"], "the collector exports to Google only: set exporter: direct, or use google")
    if google and "backend_headers_secret" in source.data:
        yield source.problem(["backend_headers_secret"], "Google's back end needs no headers: remove it")


def _collector_problems(source: YamlSource, project: Path) -> Iterator[str]:
    config = Path("collector", f"{source.data.get('billing', 'request')}.yaml")
    if source.data.get("exporter", "sidecar") == "sidecar" and not (project / config).is_file():
        cure = "run `copier update --data exporter=sidecar`"
        yield source.problem(["exporter"], f"sidecar needs {config}, which is not there: {cure}")


def _target_problems(
    source: YamlSource, path: tuple[str, str, str], targets: list[str], known: Mapping[str, Any]
) -> Iterator[str]:
    what = "topic" if path[2] == "publishes" else "service"
    for index, target in enumerate(targets):
        if target not in known:
            close = difflib.get_close_matches(target, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known) or 'none'}"
            yield source.problem([*path, index], f"there is no {what} {target}: {hint}")
        elif path[2] == "calls" and target == path[1]:
            yield source.problem([*path, index], "a service cannot call itself: remove it")
