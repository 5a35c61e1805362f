"""Steps on where spans go, what they say and what keeps them."""

from __future__ import annotations

import re
from typing import Any

import yaml
from radish import then

from plan import applications, collectors, fail, first, plain, secrets, sidecars, topology

GOOGLE = "https://telemetry.googleapis.com"
COLLECTOR = {"http/protobuf": "http://localhost:4318", "grpc": "http://localhost:4317"}
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
"""Where a service says which it speaks: the first that is not empty."""
OLDEST_COLLECTOR = (0, 156, 1)
DEFAULT = re.compile(r"\$\{env:([A-Z0-9_]+)(?::-([^}]*))?\}")


def expect(step: Any, wanted: dict[str, Any]) -> None:
    """Fail for every service whose variables differ from `wanted`, unless topology.yaml overrides them."""
    for name, _, app in applications():
        overridden = topology()["services"][name]["env"].keys() | secrets(app).keys()
        for key, value in wanted.items():
            if key not in overridden and plain(app).get(key) != value:
                fail(step, f"{name}: {key} is {plain(app).get(key)!r}, topology.yaml means {value!r}")


@then("every service exports to where topology.yaml says")
def exports(step: Any) -> None:
    sidecar, backend = topology()["exporter"] == "sidecar", topology()["backend"]
    for name, service, app in applications():
        if (collectors(service) != []) != sidecar:
            fail(step, f"{name}: exporter: {topology()['exporter']}, {len(collectors(service))} collector(s)")
        own = topology()["services"][name]["env"]
        protocol = next(filter(None, map(own.get, PROTOCOLS)), "http/protobuf")
        wanted = own.get("OTEL_EXPORTER_OTLP_ENDPOINT") or (
            COLLECTOR.get(protocol) if sidecar else GOOGLE if backend == "google" else backend
        )
        found = plain(app).get("OTEL_EXPORTER_OTLP_ENDPOINT")
        if found != wanted and "OTEL_EXPORTER_OTLP_ENDPOINT" not in secrets(app):
            fail(step, f"{name}: OTEL_EXPORTER_OTLP_ENDPOINT is {found!r}, topology.yaml means {wanted!r}")
    expect(
        step,
        {
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "TRACERUN_BACKEND": "google" if backend == "google" else "other",
        },
    )
    headers = topology().get("backend_headers_secret")
    for name, _, app in applications():
        if headers and secrets(app).get("OTEL_EXPORTER_OTLP_HEADERS") != headers.partition(":")[0]:
            fail(step, f"{name} does not take its headers from the secret {headers}")


@then("only direct export to Google is signed by the service")
def signed(step: Any) -> None:
    direct = topology()["exporter"] == "direct" and topology()["backend"] == "google"
    expect(step, {"TRACERUN_EXPORT_AUTH": "google" if direct else "none"})


@then("every service names itself, its project, version and environment")
def named(step: Any) -> None:
    for name, service, app in applications():
        if plain(app).get("OTEL_SERVICE_NAME") != name or not service["name"].endswith(f"-{name}"):
            fail(step, f"{name} calls itself {plain(app).get('OTEL_SERVICE_NAME')}")
        pairs = [pair.partition("=") for pair in (plain(app).get("OTEL_RESOURCE_ATTRIBUTES") or "").split(",")]
        attributes = {key: value for key, _, value in pairs}
        for key in ("gcp.project_id", "service.version", "deployment.environment.name"):
            if not attributes.get(key):
                fail(step, f"{name}: OTEL_RESOURCE_ATTRIBUTES lacks {key}")
        for key, wanted in (("service.namespace", topology()["project"]), ("cloud.region", service["location"])):
            if attributes.get(key) != wanted:
                fail(step, f"{name}: OTEL_RESOURCE_ATTRIBUTES has {key}={attributes.get(key)}")


@then("every service samples as topology.yaml says")
def samples(step: Any) -> None:
    sampling = topology()["sampling"]
    expect(
        step,
        {
            "OTEL_SDK_DISABLED": "false",
            "TRACERUN_KEEP_ERRORS": str(sampling["keep_errors"]).lower(),
            "TRACERUN_KEEP_SLOWER_THAN_MS": str(sampling["keep_slower_than_ms"]),
        },
    )
    for name, _, app in applications():
        found = [plain(app).get(key) for key in ("OTEL_TRACES_SAMPLER_ARG", "TRACERUN_MAX_TRACES_PER_SECOND")]
        overridden = topology()["services"][name]["env"].keys()
        if overridden.isdisjoint({"OTEL_TRACES_SAMPLER_ARG", "TRACERUN_MAX_TRACES_PER_SECOND"}) and [
            float(value or "nan") for value in found
        ] != [sampling["ratio"], sampling["max_traces_per_second"]]:
            fail(step, f"{name} samples at {found}")


@then("every service flushes as its billing needs")
def flushes(step: Any) -> None:
    flush = "on-idle" if topology()["billing"] == "request" else "background"
    expect(step, {"TRACERUN_FLUSH": flush, "TRACERUN_FLUSH_DEADLINE_MS": "500"})


@then("under request billing the collector neither batches nor queues")
def synchronous(step: Any) -> None:
    for name, _, collector in sidecars():
        config = configuration(collector)
        pipeline = config["service"]["pipelines"]["traces"]
        waits = [processor for processor in pipeline["processors"] if processor.partition("/")[0] == "batch"]
        for exporter in pipeline["exporters"]:
            settings = config["exporters"][exporter]
            waits += [
                key for key in ("sending_queue", "retry_on_failure") if (settings.get(key) or {}).get("enabled", True)
            ]
        if topology()["billing"] == "request" and waits:
            fail(step, f"{name}: its collector has {', '.join(waits)}: what waits there is lost when the CPU goes")


@then("exactly private services that others call trust their callers")
def trusts(step: Any) -> None:
    called = {callee for service in topology()["services"].values() for callee in service["calls"]}
    for name, _, app in applications():
        wanted = str(name in called and topology()["services"][name]["access"] == "private").lower()
        if plain(app).get("TRACERUN_TRUST_CALLERS") != wanted:
            fail(step, f"{name}: TRACERUN_TRUST_CALLERS is {plain(app).get('TRACERUN_TRUST_CALLERS')}, not {wanted}")


@then("every service waits for its collector")
def waits(step: Any) -> None:
    for name, app, collector in sidecars():
        if collector["name"] not in (app.get("depends_on") or []):
            fail(step, f"{name} does not wait for {collector['name']}")


@then("every collector starts with the configuration that it carries")
def collector_start(step: Any) -> None:
    for name, _, collector in sidecars():
        if collector.get("args") != ["--config=env:OTEL_CONFIG"] or not plain(collector).get("OTEL_CONFIG"):
            fail(step, f"{name}: its collector starts with {collector.get('args')}")


@then("every collector is probed where its configuration answers")
def collector_probe(step: Any) -> None:
    for name, _, collector in sidecars():
        endpoint = resolved(configuration(collector), collector)["extensions"]["health_check"]["endpoint"]
        found = first(first(collector["startup_probe"]).get("http_get"))
        if found.get("path") != "/" or str(found.get("port")) != endpoint.rpartition(":")[2]:
            fail(step, f"{name}: its collector is probed at {found}, and answers at {endpoint}")
        version = re.search(r":(\d+)\.(\d+)\.(\d+)$", collector["image"])
        if version and tuple(map(int, version.groups())) < OLDEST_COLLECTOR:
            fail(step, f"{name}: {collector['image']} is older than its configuration")


@then("every collector listens on localhost only, and knows the project")
def collector_listens(step: Any) -> None:
    for name, app, collector in sidecars():
        config = resolved(configuration(collector), collector)
        for protocol, settings in config["receivers"]["otlp"]["protocols"].items():
            if settings["endpoint"].rpartition(":")[0] != "localhost":
                fail(step, f"{name}: its collector takes {protocol} at {settings['endpoint']}")
        project = plain(collector).get("GOOGLE_CLOUD_PROJECT")
        if not project or f"gcp.project_id={project}," not in (plain(app).get("OTEL_RESOURCE_ATTRIBUTES") or ""):
            fail(step, f"{name}: its collector's project is {project}")


@then("no collector accepts more spans than its memory holds")
def collector_memory(step: Any) -> None:
    for name, _, collector in sidecars():
        config = resolved(configuration(collector), collector)
        limit = first(collector["resources"])["limits"]["memory"]
        accepted = int(config["processors"]["memory_limiter"]["limit_mib"])
        if accepted * 4 > int(limit.removesuffix("Mi")) * 3:
            fail(step, f"{name}: its collector accepts spans up to {accepted} MiB of {limit}")


def configuration(collector: dict[str, Any]) -> dict[str, Any]:
    """Return the collector's configuration, with its variables as they stand."""
    config: dict[str, Any] = yaml.safe_load(plain(collector)["OTEL_CONFIG"] or "")
    return config


def resolved(value: Any, collector: dict[str, Any]) -> Any:
    """Put the collector's variables into its configuration."""
    if isinstance(value, dict):
        return {key: resolved(inner, collector) for key, inner in value.items()}
    if isinstance(value, str):
        return DEFAULT.sub(lambda found: plain(collector).get(found[1]) or found[2] or "", value)
    return value
