"""The rules of the platform that are imitated, each with its source.

A rule without a source is refused: a wrong imitation proves wrong things.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Decorated = TypeVar("_Decorated")


@dataclass(frozen=True)
class Rule:
    """What the platform does, and where that is written. Raises `ValueError` without a source."""

    claim: str
    source: str

    def __post_init__(self) -> None:
        if not self.source.startswith("https://"):
            raise ValueError(f"rule {self.claim!r} cites no source: give the URL of the page that documents it")


IMITATED: Final[dict[Rule, list[str]]] = {}
"""Every rule that some code imitates, with the names of that code."""


def imitates(*rules: Rule) -> Callable[[_Decorated], _Decorated]:
    """Mark the function or class that imitates `rules`."""
    if not rules:
        raise ValueError("imitates() needs at least one rule")

    def register(decorated: _Decorated) -> _Decorated:
        for rule in rules:
            IMITATED.setdefault(rule, []).append(f"{decorated.__module__}.{getattr(decorated, '__qualname__', '?')}")
        return decorated

    return register


_CONTRACT: Final = "https://cloud.google.com/run/docs/container-contract"
_TRACE: Final = "https://cloud.google.com/run/docs/trace"
_TROUBLE: Final = "https://cloud.google.com/run/docs/troubleshooting"
_SERVICE_TO_SERVICE: Final = "https://cloud.google.com/run/docs/authenticating/service-to-service"
_QUOTAS: Final = "https://docs.cloud.google.com/stackdriver/quotas"

ENVIRONMENT: Final = Rule(
    "the container gets PORT, K_SERVICE, K_REVISION and K_CONFIGURATION, and must listen on PORT",
    f"{_CONTRACT}#env-vars",
)
STARTUP_PROBE: Final = Rule(
    "no request reaches an instance before its start-up probe has succeeded",
    "https://cloud.google.com/run/docs/configuring/healthchecks",
)
CPU_WHILE_ACTIVE: Final = Rule(
    "under request-based billing an instance has CPU only while it processes a request, starts or shuts down",
    "https://cloud.google.com/run/docs/configuring/billing-settings",
)
SIDECAR_ORDER: Final = Rule(
    "a container starts only after the start-up probes of the containers that it depends on have succeeded",
    "https://cloud.google.com/run/docs/configuring/services/containers#container-ordering",
)
SIDECAR_CPU: Final = Rule(
    "all containers of an instance, sidecars too, have and lose the CPU together",
    f"{_CONTRACT}#lifecycle",
)
SIGTERM: Final = Rule(
    "shutdown is SIGTERM to all containers, with CPU, and SIGKILL 10 s later",
    f"{_CONTRACT}#instance-shutdown",
)
PARENT_REPLACED: Final = Rule(
    "the front end keeps the trace id of traceparent and replaces the parent span id by its own",
    "https://github.com/elastic/apm/issues/609",
)
TRACEPARENT_FILLED_IN: Final = Rule("every request carries traceparent, filled in where the caller sent none", _TRACE)
PLATFORM_SAMPLING: Final = Rule(
    "the platform samples at most 0.1 requests/s per instance, and at most 10 requests/s that force it by their flag",
    _TRACE,
)
CLOUD_TRACE_HEADER: Final = Rule(
    "the legacy header X-Cloud-Trace-Context: TRACE_ID/SPAN_ID;o=FLAG is read where traceparent is absent, and added",
    "https://docs.cloud.google.com/trace/docs/trace-context",
)
OTHER_HEADERS_PASS: Final = Rule(
    "headers that the platform does not know, original-traceparent among them, pass unchanged",
    "https://github.com/chainguard-dev/go-grpc-kit/pull/268",
)
INGRESS: Final = Rule(
    "a service with ingress internal answers what does not come from the VPC network with 404",
    "https://cloud.google.com/run/docs/securing/ingress",
)
ID_TOKEN: Final = Rule(
    "a private service answers a request without a valid ID token, its own URL the audience, with 401; where there is"
    " no token at all, reports of Cloud Run say 403",
    f"{_TROUBLE}#unauthorized-client",
)
INVOKER: Final = Rule(
    "a private service answers a valid ID token of an account that may not invoke it with 403",
    "https://cloud.google.com/run/docs/securing/managing-access",
)
SERVERLESS_AUTHORIZATION: Final = Rule(
    "where X-Serverless-Authorization is present it alone is checked, and Authorization passes unchanged",
    f"{_SERVICE_TO_SERVICE}#acquire-token",
)
SIGNATURE_REMOVED: Final = Rule(
    "the container gets the checked token with SIGNATURE_REMOVED_BY_GOOGLE in place of the signature",
    f"{_TROUBLE}#signature-removed",
)
REFUSALS_LOGGED: Final = Rule(
    "requests that the platform refuses by itself stand in the request log, and reach no instance",
    "https://cloud.google.com/run/docs/logging#request-logs",
)
CONCURRENCY: Final = Rule(
    "an instance gets no more requests at once than the service's concurrency",
    "https://cloud.google.com/run/docs/about-concurrency",
)
SCALE_OUT: Final = Rule(
    "where all instances are full another is started, up to max_instances; requests wait for 3.5 times the average"
    " start-up or 10 s, whichever is more, and are answered with 429 then",
    "https://cloud.google.com/run/docs/about-instance-autoscaling",
)
BROKEN_INSTANCE: Final = Rule(
    "a request whose connection to the instance breaks is answered with 503",
    "https://cloud.google.com/run/docs/troubleshooting#503",
)
WEBSOCKETS: Final = Rule(
    "a WebSocket is one request: it keeps its instance active until it is closed",
    "https://cloud.google.com/run/docs/triggering/websockets",
)
METADATA: Final = Rule(
    "the metadata server tells project, region and instance and gives tokens, if asked with Metadata-Flavor: Google",
    f"{_CONTRACT}#metadata-server",
)
ID_TOKENS_GIVEN: Final = Rule(
    "the metadata server gives ID tokens of the service's own account, for one hour, for the audience that is asked"
    " for; without an audience it answers 400",
    f"{_SERVICE_TO_SERVICE}#use_the_metadata_server",
)
OTLP_TRACES: Final = Rule(
    "the Telemetry API takes OTLP over HTTP as protobuf at /v1/traces",
    "https://docs.cloud.google.com/stackdriver/docs/reference/telemetry/overview",
)
PROJECT_REQUIRED: Final = Rule(
    "an export whose resource lacks gcp.project_id is refused with 400 INVALID_ARGUMENT",
    "https://github.com/open-telemetry/opentelemetry-js-contrib/pull/3756",
)
BEARER_TOKEN: Final = Rule(
    "a call without a valid access token in Authorization: Bearer is refused with 401 UNAUTHENTICATED",
    "https://cloud.google.com/apis/design/errors#handling_errors",
)
SPAN_LIMITS: Final = Rule(
    "a span has a name of 1024 B, 1024 attributes with keys of 512 B and values of 64 KiB, 256 events and 128 links",
    f"{_QUOTAS}#telemetry-api",
)
REQUEST_LIMIT: Final = Rule("one ResourceSpans has at most 8192 attributes in all", f"{_QUOTAS}#telemetry-api")
