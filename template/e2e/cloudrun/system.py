"""The whole offline Cloud Run: all services of a topology, their front ends, and what stands around them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cloudrun.access import Access
from cloudrun.collector import Collector, find_binary
from cloudrun.environment import Addresses, secret_headers
from cloudrun.errors import CloudRunError
from cloudrun.front_end import FrontEnd
from cloudrun.identity import INVOKER, IdTokens, account_of
from cloudrun.instance import Instance
from cloudrun.instances import Instances
from cloudrun.metadata import MetadataServer
from cloudrun.protocols import GRPC, protocol_of
from cloudrun.store import Span, Store
from cloudrun.telemetry_api import TelemetryApi
from cloudrun.tls import CertificateAuthority
from cloudrun.topology import Topology, load
from cloudrun.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path
    from typing import Any

    from cloudrun.request_log import RequestLog


@dataclass(frozen=True)
class LogLine:
    """One line that a service wrote."""

    service: str
    """`NAME`, `NAME/collector`, or `NAME/requests` for what the platform writes of requests that it refused."""
    text: str


class System:
    """Belongs to one event loop; `CloudRun` gives tests a blocking view of it."""

    def __init__(
        self,
        project: Path,
        *,
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[LogLine], None] | None = None,
        slow: Mapping[str, float] | None = None,
    ) -> None:
        """`environment` is set in every container on top of the contract.

        `slow` gives services one more callee, which answers after so many seconds, as does what is outside of the
        system. Raises `TopologyError`, `CloudRunError` for a service in `slow` that is not there, and what
        `find_binary` raises.
        """
        self.project = project
        self.topology: Topology = load(project)
        self.slow = {self._known(service): Upstream("slow", seconds) for service, seconds in (slow or {}).items()}
        self.collector_binary = find_binary() if self.topology.exporter == "sidecar" else None
        """The collector that runs beside each service; None: the Telemetry API stands in."""
        self.store = Store()
        self.id_tokens = IdTokens()
        self.metadata = MetadataServer(self.topology, self.id_tokens)
        self.authority = CertificateAuthority()  # has files: nothing from here on may refuse
        self.telemetry_api = TelemetryApi(
            self.store,
            self.authority,
            self.metadata.tokens,
            headers=None if self.topology.google else secret_headers(self.topology),
            grpc=any(protocol_of(service.env) == GRPC for service in self.topology.services.values()),
        )
        self.upstream = Upstream()
        self.logs: list[LogLine] = []
        self.requests: list[RequestLog] = []
        self._environment = dict(environment or {})
        self._on_line = on_line
        self.instances = {name: self._instances_of(name) for name in self.topology.services}
        self.front_ends = {
            name: FrontEnd(name, self._access(name), self.instances[name], self._answered)
            for name in self.topology.services
        }

    async def start(self) -> None:
        """Start everything; a failure stops what had started and is raised as `StartFailed`."""
        try:
            for part in self._surroundings():
                await part.start()
            tls = self.authority.server_context()
            for front_end in self.front_ends.values():
                await front_end.start(tls)
            await _all_or_none([instances.start() for instances in self.instances.values()])
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop everything; instances are killed."""
        for front_end in self.front_ends.values():
            await front_end.stop()
        for instances in self.instances.values():
            await instances.stop()
        for part in self._surroundings():
            await part.stop()
        self.authority.close()

    def _surroundings(self) -> tuple[TelemetryApi | MetadataServer | Upstream, ...]:
        return self.telemetry_api, self.metadata, self.upstream, *self.slow.values()

    def url(self, service: str, *, inside: bool = False) -> str:
        """Return the address at which `service` is reached from outside, or `inside` the VPC network."""
        front_end = self.front_ends[self._known(service)]
        return front_end.inside_url if inside else front_end.url

    def account(self, name: str) -> str:
        """Return the email address of the account of the service `name`; an email address is returned as it is."""
        return name if "@" in name else account_of(self.topology.project, self._known(name))

    def names(self) -> dict[str, str]:
        """Return who has which address, `HOST:PORT`."""
        found = {self.upstream.url: "upstream", **{stub.url: "slow" for stub in self.slow.values()}}
        for service in self.front_ends:
            found |= {self.url(service): service, self.url(service, inside=True): service}
        return {url.partition("//")[2]: name for url, name in found.items()}

    def usual_caller(self, service: str) -> str:
        """Return who calls `service`: an invoker from outside, or for an internal one a service that calls it."""
        services = self.topology.services
        if services[self._known(service)].ingress == "all":
            return INVOKER
        return next(name for name, other in services.items() if service in other.calls)

    def reach(self, service: str, caller: str | None) -> tuple[str, dict[str, str]]:
        """Return the address at which `caller` reaches `service`, and the headers it needs there.

        `caller` is a service, which calls from the VPC network, or the email address of an account, which calls from
        outside; None: from outside, without an ID token.
        """
        url = self.url(service, inside=caller in self.topology.services)
        if caller is None or self.topology.services[service].access == "public":
            return url, {}
        return url, {"authorization": f"Bearer {self.id_tokens.sign(self.account(caller), url)}"}

    def instance(self, service: str) -> Instance:
        """Return the oldest running instance of `service`, or the last one that has ended."""
        found = self.instances[self._known(service)].all
        if not found:
            raise CloudRunError(f"{service} has no instance: start one")
        return next((instance for instance in found if instance.is_running), found[-1])

    async def start_instance(self, service: str) -> Instance:
        """Start another instance of `service`; those that have ended are forgotten."""
        return await self.instances[self._known(service)].start()

    def _known(self, service: str) -> str:
        if service not in self.topology.services:
            raise CloudRunError(f"there is no service {service}; there are {', '.join(self.topology.services)}")
        return service

    def _access(self, name: str) -> Access:
        """Whoever stands in Terraform's `invokers` comes from outside: `INVOKER` may call what can be reached there."""
        service = self.topology.services[name]
        callers = {self.account(caller.name) for caller in self.topology.services.values() if name in caller.calls}
        invokers = callers | ({INVOKER} if service.ingress == "all" else set())
        return Access(service, self.id_tokens, invokers, lambda: [self.url(name), self.url(name, inside=True)])

    def _instances_of(self, name: str) -> Instances:
        def failed(reason: str) -> None:
            self._line(LogLine(name, f"another instance did not start: {reason}"))

        return Instances(self.topology.services[name], lambda: self._instance(name), failed)

    def _instance(self, service: str) -> Instance:
        api = self.telemetry_api
        addresses = Addresses(
            otlp={
                protocol: api.signed_url(protocol) if self.topology.direct else api.url(protocol)
                for protocol in api.protocols
            },
            telemetry_api=api.signed_url(),
            metadata=self.metadata.url(service),
            upstream=self.slow.get(service, self.upstream).url,
            authority=self.authority.bundle,
            services={name: self.url(name, inside=True) for name in self.topology.services},
            slow=self.slow[service].url if service in self.slow else None,
        )
        collector = self._collector(service, addresses)
        return Instance(
            self.topology,
            self.topology.services[service],
            self.project / "services" / service,
            addresses if collector is None else replace(addresses, otlp=collector.urls),
            self._environment,
            lambda text: self._line(LogLine(service, text)),
            collector,
        )

    async def all_logs(self) -> list[LogLine]:
        """Return all lines that the services have written so far."""
        for instances in self.instances.values():
            for instance in instances.all:
                await instance.output_read()
        return list(self.logs)

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
        if log.refusal is not None:
            self._line(LogLine(f"{log.service}/requests", log.warning()))
        if log.span.sampled and self.topology.google:
            self.store.add([_platform_span(log)])


async def _all_or_none(starting: list[Coroutine[Any, Any, Any]]) -> None:
    """Run all at once; at the first failure stop the others, so that nothing starts any more when it is raised."""
    tasks = [asyncio.ensure_future(one) for one in starting]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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
