"""The whole offline Cloud Run: all services of a topology, their front ends, and what stands around them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cloudrun.collector import Collector, find_binary
from cloudrun.environment import HEADERS, Addresses
from cloudrun.errors import CloudRunError
from cloudrun.front_end import FrontEnd, RequestLog
from cloudrun.instance import Instance
from cloudrun.metadata import MetadataServer
from cloudrun.protocols import GRPC, protocol_of
from cloudrun.store import Span, Store
from cloudrun.telemetry_api import TelemetryApi
from cloudrun.tls import CertificateAuthority
from cloudrun.topology import Topology, load
from cloudrun.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class LogLine:
    """One line that a service wrote."""

    service: str
    text: str


class System:
    """Belongs to one event loop; `CloudRun` gives tests a blocking view of it."""

    def __init__(
        self,
        project: Path,
        *,
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[LogLine], None] | None = None,
    ) -> None:
        """`environment` is set in every container on top of the contract. Raises `TopologyError`."""
        self.project = project
        self.topology: Topology = load(project)
        self.store = Store()
        self.metadata = MetadataServer(self.topology.region)
        self.authority = CertificateAuthority()
        self.telemetry_api = TelemetryApi(
            self.store,
            self.authority,
            self.metadata.tokens,
            headers=None if self.topology.google else self._secret_headers(),
            grpc=any(protocol_of(service.env) == GRPC for service in self.topology.services.values()),
        )
        self.upstream = Upstream()
        self.collector_binary = find_binary() if self.topology.exporter == "sidecar" else None
        """The collector that runs beside each service; None: the Telemetry API stands in."""
        self.logs: list[LogLine] = []
        self.requests: list[RequestLog] = []
        self._environment = dict(environment or {})
        self._on_line = on_line
        self._instances: dict[str, Instance] = {}
        self.front_ends = {
            name: FrontEnd(name, lambda name=name: self.instance(name), self._answered)  # type: ignore[misc]
            for name in self.topology.services
        }

    async def start(self) -> None:
        """Start everything; a failure stops what had started and is raised as `StartFailed`."""
        try:
            for part in self._surroundings():
                await part.start()
            for front_end in self.front_ends.values():
                await front_end.start()
            await asyncio.gather(*(self.start_instance(name) for name in self.topology.services))
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop everything; instances are killed."""
        for front_end in self.front_ends.values():
            await front_end.stop()
        for instance in list(self._instances.values()):
            if instance.is_running:
                await instance.kill()
        self._instances.clear()
        for part in self._surroundings():
            await part.stop()
        self.authority.close()

    def _surroundings(self) -> tuple[TelemetryApi, MetadataServer, Upstream]:
        return self.telemetry_api, self.metadata, self.upstream

    def url(self, service: str) -> str:
        """Return the address at which `service` is reached, through its front end."""
        if service not in self.front_ends:
            raise CloudRunError(f"there is no service {service}; there are {', '.join(self.front_ends)}")
        return f"http://127.0.0.1:{self.front_ends[service].port}"

    def instance(self, service: str) -> Instance:
        """Return the running instance of `service`."""
        if service not in self._instances:
            raise CloudRunError(f"{service} has no instance: start one")
        return self._instances[service]

    async def start_instance(self, service: str) -> Instance:
        """Start an instance of `service`, in place of one that has ended."""
        api = self.telemetry_api
        addresses = Addresses(
            otlp={
                protocol: api.signed_url(protocol) if self.topology.direct else api.url(protocol)
                for protocol in api.protocols
            },
            telemetry_api=api.signed_url(),
            metadata=self.metadata.url,
            upstream=self.upstream.url,
            authority=self.authority.bundle,
            services={name: self.url(name) for name in self.topology.services},
        )
        collector = self._collector(service, addresses)
        instance = Instance(
            self.topology,
            self.topology.services[service],
            self.project / "services" / service,
            addresses if collector is None else replace(addresses, otlp=collector.urls),
            self._environment,
            lambda text: self._line(LogLine(service, text)),
            collector,
        )
        self._instances[service] = instance
        await instance.start()
        return instance

    async def all_logs(self) -> list[LogLine]:
        """Return all lines that the services have written so far."""
        for instance in self._instances.values():
            await instance.output_read()
        return list(self.logs)

    def _secret_headers(self) -> Mapping[str, str]:
        return HEADERS if self.topology.backend_headers_secret else {}

    def _collector(self, service: str, addresses: Addresses) -> Collector | None:
        if self.collector_binary is None:
            return None
        return Collector(
            self.collector_binary,
            self.project,
            self.topology,
            self.topology.services[service],
            addresses,
            self._environment,
            lambda text: self._line(LogLine(f"{service}/collector", text)),
        )

    def _line(self, line: LogLine) -> None:
        self.logs.append(line)
        if self._on_line is not None:
            self._on_line(line)

    def _answered(self, log: RequestLog) -> None:
        self.requests.append(log)
        if log.span.sampled and self.topology.google:
            self.store.add([_platform_span(log)])


def _platform_span(log: RequestLog) -> Span:
    return Span(
        trace_id=log.span.trace_id,
        span_id=log.span.span_id,
        parent_id=log.span.parent_id,
        name=log.path.partition("?")[0],
        kind="SERVER",
        service="Cloud Run",
        start=log.started_ns,
        end=log.ended_ns,
        by_platform=True,
    )
