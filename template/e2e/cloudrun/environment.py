"""The environment that a container gets: what Terraform sets, and what the platform and this simulator add."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from cloudrun.errors import StartFailed
from cloudrun.protocols import HTTP, protocol_of
from cloudrun.rules import ENVIRONMENT, imitates

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cloudrun.topology import Service, Topology

PROJECT_ID: Final = "offline-project"
FLUSH: Final = {"request": "on-idle", "instance": "background"}
FLUSH_DEADLINE_MS: Final = 500
REVISION: Final = "00001-off"
_HEADERS: Final = {"x-offline-key": "offline"}


@dataclass(frozen=True)
class Addresses:
    """Where this run's parts listen: URLs without a path."""

    otlp: Mapping[str, str]
    """Where services export to, by protocol."""
    telemetry_api: str
    """Where collectors export to."""
    metadata: str
    upstream: str
    authority: Path
    """The certificate authority's bundle."""
    services: Mapping[str, str] = field(default_factory=dict)
    """Where services reach each other."""
    slow: str | None = None
    """One more callee of the service, which takes its time."""


def contract(topology: Topology, service: Service, addresses: Addresses) -> dict[str, str]:
    """Return the variables that Terraform sets for the container of `service`.

    Raises `StartFailed` when a secret of the service is not in the environment of this process.
    """
    resource = {
        "gcp.project_id": PROJECT_ID,
        "service.namespace": topology.project,
        "service.version": "offline",
        "deployment.environment.name": "offline",
        "cloud.region": topology.region,
    }
    headers = ",".join(f"{name}={value}" for name, value in secret_headers(topology).items())
    return {
        "OTEL_SERVICE_NAME": service.name,
        "OTEL_RESOURCE_ATTRIBUTES": ",".join(f"{key}={value}" for key, value in resource.items()),
        "OTEL_EXPORTER_OTLP_PROTOCOL": HTTP,
        "OTEL_TRACES_SAMPLER_ARG": _plain(topology.sampling.ratio),
        "OTEL_SDK_DISABLED": "false",
        "TRACERUN_KEEP_ERRORS": str(topology.sampling.keep_errors).lower(),
        "TRACERUN_KEEP_SLOWER_THAN_MS": str(topology.sampling.keep_slower_than_ms),
        "TRACERUN_MAX_TRACES_PER_SECOND": _plain(topology.sampling.max_traces_per_second),
        "TRACERUN_TRUST_CALLERS": str(topology.trusts_callers(service.name)).lower(),
        "TRACERUN_BACKEND": "google" if topology.google else "other",
        "TRACERUN_EXPORT_AUTH": "google" if topology.direct and topology.google else "none",
        "TRACERUN_FLUSH": FLUSH[topology.billing],
        "TRACERUN_FLUSH_DEADLINE_MS": str(FLUSH_DEADLINE_MS),
        **({"OTEL_EXPORTER_OTLP_HEADERS": headers} if headers else {}),
        **{f"{wiring_name(callee)}_URL": addresses.services[callee] for callee in service.calls},
        **_private_callees(topology, service, addresses),
        **service.env,
        **_secrets(service),
        "OTEL_EXPORTER_OTLP_ENDPOINT": addresses.otlp.get(protocol_of(service.env), addresses.otlp[HTTP]),
    }


def _private_callees(topology: Topology, service: Service, addresses: Addresses) -> dict[str, str]:
    """Return the variable that tells which requests need an ID token."""
    private = [addresses.services[callee] for callee in service.calls if topology.services[callee].access == "private"]
    return {"TRACERUN_PRIVATE_CALLEES": ",".join(private)} if private else {}


def secret_headers(topology: Topology) -> Mapping[str, str]:
    """Return the headers that stand in for those of `backend_headers_secret`; none where there is no such secret."""
    return {} if topology.backend_headers_secret is None else _HEADERS


def _secrets(service: Service) -> dict[str, str]:
    """Return the variables that Secret Manager gives on Cloud Run: here the developer's own give them."""
    missing = [name for name in service.secrets if name not in os.environ]
    if missing:
        name = missing[0]
        raise StartFailed(
            f"services.{service.name}.secrets.{name}: there is no Secret Manager here:"
            f" set {name} in the environment of this command"
        )
    return {name: os.environ[name] for name in service.secrets}


def _plain(number: float) -> str:
    """Return `number` in digits, as Terraform writes it: without exponent and needless zeros."""
    return f"{Decimal(str(number)).normalize():f}"


@imitates(ENVIRONMENT)
def platform(topology: Topology, service: Service, port: int) -> dict[str, str]:
    """Return the variables that Cloud Run itself sets."""
    name = f"{topology.project}-{service.name}"
    return {"PORT": str(port), "K_SERVICE": name, "K_REVISION": f"{name}-{REVISION}", "K_CONFIGURATION": name}


def simulator(topology: Topology, service: Service, addresses: Addresses) -> dict[str, str]:
    """Return the variables that exist only here: they lead the libraries to the imitations."""
    trust = {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(addresses.authority)} if topology.direct else {}
    if service.calls:
        trust["SSL_CERT_FILE"] = str(addresses.authority)
    slow = {} if addresses.slow is None else {"SLOW_URL": addresses.slow}
    return {
        **trust,
        **slow,
        "GCE_METADATA_HOST": addresses.metadata.removeprefix("http://"),
        "GCE_METADATA_IP": addresses.metadata.removeprefix("http://"),
        "UPSTREAM_URL": addresses.upstream,
        "PYTHONUNBUFFERED": "1",
    }


def wiring_name(service: str) -> str:
    """Return a service's name as it stands in variables: upper case, `_` for `-`."""
    return service.upper().replace("-", "_")
