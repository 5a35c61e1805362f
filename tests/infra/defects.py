"""Deliberate defects of the project's Terraform and collector, each with the shipped check that notices it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.infra.topologies import Case
from tests.project import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

INFRA: Final = REPOSITORY / "template" / "infra"
MANY: Final = Case(services="many")
PRIVATE: Final = Case(access="private")
GRPC: Final = Case(protocol="grpc")
OTHER: Final = Case(export="other")
HEADERS: Final = Case(export="other-with-headers")
DIRECT: Final = Case(export="direct")
CHAIN: Final = Case(services="chain")
DIAMOND: Final = Case(services="diamond", access="private")
INSTANCE: Final = Case(billing="instance")


@dataclass(frozen=True)
class Defect:
    """One wrong edit."""

    name: str
    file: str
    before: str
    after: str
    said: str
    """What the check says of it."""
    case: Case | None = None
    """The topology whose plan terraform-compliance judges; None: `terraform test` notices."""
    tests: str = "services"
    """The file of tests that notices, where `terraform test` does."""
    network: str = "null"
    """The value of the variable, where terraform-compliance judges."""

    def __str__(self) -> str:
        return self.name


OTHER_GRANTS: Final = (
    "google_project_iam_binding",
    "google_project_iam_policy",
    "google_cloud_run_v2_service_iam_binding",
    "google_cloud_run_v2_service_iam_policy",
    "google_cloud_run_service_iam_binding",
    "google_cloud_run_service_iam_policy",
    "google_cloud_run_service_iam_member",
    "google_secret_manager_secret_iam_binding",
    "google_secret_manager_secret_iam_policy",
)
"""Resources that grant rights past the steps that judge them. The stand-in for the provider does not know them."""

IN_TESTS: Final = [
    Defect("protection is off by default", "infra/services.tf", "= var.deletion_protection", "= false", "deletion_protection is false"),
    Defect("an API is not enabled", "infra/main.tf", ', "telemetry.googleapis.com"]', "]", "enabled are"),
    Defect("the API of secrets is not enabled", "infra/main.tf", '["secretmanager.googleapis.com"]', "[]", "enabled are"),
    Defect("own variables come first", "infra/environment.tf", "    service.env,\n  ) : key", "  ) : key", "own variables come last"),
    Defect("any container's image is kept", "infra/images.tf", '    if container.name == "app"\n', "", "Invalid function argument"),
    Defect("the version is the whole name", "infra/images.tf", 'reverse(split("/", split("@", image)[0]))[0]', "image", "the version"),
    Defect("addresses lack the region", "infra/network.tf", ".${local.region}.run.app", ".run.app", "addresses are"),
    Defect("short names are not padded", "infra/iam.tf", '"${local.names[each.key]}-run"', "local.names[each.key]", "at least 6 characters"),
    Defect("an empty protocol hides the next", "infra/environment.tf", 'name => coalesce(\n    lookup(service.env, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", ""),\n    lookup(service.env, "OTEL_EXPORTER_OTLP_PROTOCOL", ""),\n', 'name => coalesce(\n    lookup(service.env, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", lookup(service.env, "OTEL_EXPORTER_OTLP_PROTOCOL", "")),\n', "addresses are"),
    Defect("the protocol for traces is not read", "infra/environment.tf", '    lookup(service.env, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", ""),\n', "", "addresses are"),
    Defect("the protocol for all goes first", "infra/environment.tf", 'OTLP_TRACES_PROTOCOL", ""),\n    lookup(service.env, "OTEL_EXPORTER_OTLP_PROTOCOL", ""),', 'OTLP_PROTOCOL", ""),\n    lookup(service.env, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", ""),', "addresses are"),
    Defect("the environment is fixed", "infra/environment.tf", "name=${var.environment}", "name=production", "resource:"),
    Defect("the canary takes it all", "infra/services.tf", "name => 100 - sum(", "name => 100 - 0 * sum(", "the newest revision gets"),
    Defect("the collector is not told its memory", "infra/environment.tf", "* 5 / 8", "* 5 / 4", "it accepts spans up to"),
    Defect("an existing network is ignored", "infra/network.tf", "own_network = var.network == null &&", "own_network = ", "egress:", tests="calls"),
    Defect("the API of addresses is not enabled", "infra/main.tf", ', "dns.googleapis.com"', "", "enabled are"),
    Defect("addresses of the network run out", "infra/network.tf", "<= 4092", "<= 409200", "Missing expected failure", tests="calls"),
    Defect("an existing network leads nowhere", "infra/network.tf", '!var.network.private_run_app ? "ALL_TRAFFIC"', '!var.network.private_run_app ? "PRIVATE_RANGES_ONLY"', "egress:", tests="calls"),
    Defect("an existing zone is ignored", "infra/network.tf", " && !var.network.private_run_app", "", "egress:", tests="calls"),
    Defect("services wait for each other's addresses", "infra/network.tf", '"https://${service}-${local.project_number}.${local.region}.run.app"', "google_cloud_run_v2_service.service[name].uri", "Cycle:", tests="calls"),
    Defect("the project's number is not looked up", "infra/network.tf", "var.project_number == null && length(local.called) > 0", "var.project_number == null && length(local.called) > 9", "without a number", tests="calls"),
    Defect("named members may not call", "infra/iam.tf", "for name, members in var.invokers :", "for name, members in {} :", "callers are", tests="calls"),
    Defect("allUsers cannot be done without", "infra/iam.tf", ' && var.public_access == "allUsers"', "", "callers are api allUsers"),
    Defect("a default is not filled in", "infra/modules/topology/variables.tf", 'optional(string, "request")', 'optional(string, "instance")', "defaults are filled in", tests="rules"),
    Defect("who is called is reached", "infra/modules/topology/main.tf", 'local.leads_32[name] if service.ingress != "internal"', 'service.ingress != "internal" ? [name] : service.calls', "Missing expected failure", tests="rules"),
    Defect("services after many calls are not reached", "infra/modules/topology/main.tf", "local.leads_32[name] if", "local.leads_16[name] if", "internal, so nobody could reach it", tests="rules"),
    Defect("only the entry leads anywhere", "infra/modules/topology/main.tf", 'local.leads_32[name] if service.ingress != "internal"', 'local.leads_32[name] if name == "api"', "internal, so nobody could reach it", tests="calls"),
]  # fmt: skip

IN_PLANS: Final = [
    Defect("limits without cpu_idle", "infra/services.tf", '        cpu_idle          = local.topology.billing == "request"\n', "", "api/app has cpu_idle = None", MANY),
    Defect("always instance billing", "infra/services.tf", 'cpu_idle          = local.topology.billing == "request"', "cpu_idle          = false", "api/app has cpu_idle = False", MANY),
    Defect("always request billing", "infra/services.tf", 'cpu_idle          = local.topology.billing == "request"', "cpu_idle          = true", "api/app has cpu_idle = True", INSTANCE),
    Defect("the collector's billing is left out", "infra/services.tf", '          cpu_idle = local.topology.billing == "request"\n', "", "api/collector has cpu_idle = None", MANY),
    Defect("no memory limit", "infra/services.tf", ", memory = each.value.memory }", " }", "does not limit its memory", MANY),
    Defect("no limits of the collector", "infra/services.tf", '          limits   = { cpu = var.collector_cpu, memory = "${var.collector_memory_mib}Mi" }\n', "", "api/collector does not limit its cpu", MANY),
    Defect("the service does not wait", "infra/services.tf", '      depends_on = local.sidecar ? ["collector"] : null\n', "", "api does not wait for collector", MANY),
    Defect("the collector has no probe", "infra/services.tf", '          http_get {\n            path = "/"\n            port = 13133\n          }\n', "", "api/collector has start-up probes of the kinds []", MANY),
    Defect("the collector is probed elsewhere", "infra/services.tf", "            port = 13133\n", "            port = 13134\n", "its collector is probed at", MANY),
    Defect("the service is probed at another path", "infra/services.tf", '"http" ? ["/health"] : []\n          content {\n            path = http_get.value\n            port = 8080', '"http" ? ["/"] : []\n          content {\n            path = http_get.value\n            port = 8080', "api is probed at", MANY),
    Defect("the service is probed at another port", "infra/services.tf", "            port = 8080\n", "            port = 8081\n", "api is probed at", MANY),
    Defect("gRPC over HTTP/1", "infra/services.tf", 'each.value.protocol == "grpc" ? "h2c" : "http1"', '"http1"', "api names its port http1", GRPC),
    Defect("gRPC is probed by HTTP", "infra/services.tf", 'each.value.protocol == "http" ? ["/health"] : []\n          content {\n            path = http_get', '["/health"]\n          content {\n            path = http_get', "of the kinds ['http_get', 'grpc']", GRPC),
    Defect("a second port", "infra/services.tf", '        args  = ["--config=env:OTEL_CONFIG"]\n', '        args  = ["--config=env:OTEL_CONFIG"]\n        ports {\n          container_port = 4318\n        }\n', "its containers have [1, 1] ports", MANY),
    Defect("a system annotation", "infra/services.tf", "  template {\n", '  annotations = { "run.googleapis.com/launch-stage" = "BETA" }\n  template {\n', "has the annotation run.googleapis.com/launch-stage", MANY),
    Defect("a system annotation of the revision", "infra/services.tf", "    scaling {\n", '    annotations = { "run.googleapis.com/cpu-throttling" = "true" }\n    scaling {\n', "has the annotation run.googleapis.com/cpu-throttling", MANY),
    Defect("concurrency is left out", "infra/services.tf", "    max_instance_request_concurrency = each.value.concurrency\n", "", "api has min_instances, max_instances, concurrency", MANY),
    Defect("the number of instances is unbounded", "infra/services.tf", "      max_instance_count = each.value.max_instances\n", "", "api has min_instances, max_instances, concurrency", MANY),
    Defect("CPU is fixed", "infra/services.tf", "cpu = each.value.cpu,", 'cpu = "1",', "api has the limits", MANY),
    Defect("the newest image", "infra/services.tf", "image      = local.images[each.key]", 'image      = "x/api:latest"', "runs x/api:latest", MANY),
    Defect("no traffic", "infra/services.tf", "local.newest_share[each.key] > 0 ?", "local.newest_share[each.key] > 100 ?", "sends its traffic in shares of []", MANY),
    Defect("the default account", "infra/services.tf", "    service_account                  = google_service_account.service[each.key].email\n", "", "service(s) run as", MANY),
    Defect("one account for all", "infra/services.tf", "google_service_account.service[each.key].email", 'google_service_account.service["api"].email', "4 service(s) run as", MANY),
    Defect("always reachable from anywhere", "infra/services.tf", 'each.value.ingress == "all" ? "INGRESS_TRAFFIC_ALL" : "INGRESS_TRAFFIC_INTERNAL_ONLY"', '"INGRESS_TRAFFIC_ALL"', "stock has INGRESS_TRAFFIC_ALL", MANY),
    Defect("the check of callers is off", "infra/services.tf", 'each.value.access == "public" && var.public_access == "unchecked"', "true", "open to everybody: ['api']", PRIVATE),
    Defect("the collector has no configuration", "infra/services.tf", '"--config=env:OTEL_CONFIG"', '"--config=/etc/otelcol-google/config.yaml"', "its collector starts with", MANY),
    Defect("the collector does not know the project", "infra/environment.tf", "      GOOGLE_CLOUD_PROJECT = var.project_id\n", "", "its collector's project is None", MANY),
    Defect("spans do not name the project", "infra/environment.tf", '    "gcp.project_id=${var.project_id}",\n', "", "OTEL_RESOURCE_ATTRIBUTES lacks gcp.project_id", DIRECT),
    Defect("spans go past the collector", "infra/environment.tf", "!local.sidecar ? (local.google", "local.google || !local.sidecar ? (local.google", "OTEL_EXPORTER_OTLP_ENDPOINT is 'https://telemetry.googleapis.com'", MANY),
    Defect("the collector is sought elsewhere", "infra/environment.tf", "http://localhost:4318", "http://collector:4318", "OTEL_EXPORTER_OTLP_ENDPOINT is 'http://collector:4318'", MANY),
    Defect("another port of the collector", "infra/environment.tf", "http://localhost:4318", "http://localhost:4317", "OTEL_EXPORTER_OTLP_ENDPOINT is 'http://localhost:4317'", MANY),
    Defect("a sidecar in direct mode", "infra/services.tf", 'local.sidecar ? ["collector"] : []', '["collector"]', "exporter: direct, 1 collector(s)", DIRECT),
    Defect("the token goes to another back end", "infra/environment.tf", 'local.google && !local.sidecar ? "google"', '!local.sidecar ? "google"', "TRACERUN_EXPORT_AUTH is 'google'", OTHER),
    Defect("direct export is not signed", "infra/environment.tf", 'local.google && !local.sidecar ? "google"', 'local.google && local.sidecar ? "google"', "TRACERUN_EXPORT_AUTH is 'none'", DIRECT),
    Defect("headers are not taken", "infra/environment.tf", "{ OTEL_EXPORTER_OTLP_HEADERS = local.topology.backend_headers_secret }", "{}", "does not take its headers", HEADERS),
    Defect("services are named by their project", "infra/environment.tf", "OTEL_SERVICE_NAME           = name", "OTEL_SERVICE_NAME           = local.names[name]", "api calls itself shop-api", MANY),
    Defect("the ratio is fixed", "infra/environment.tf", "tostring(local.topology.sampling.ratio)", '"1"', "samples at ['1', '2000000']", MANY),
    Defect("errors are always kept", "infra/environment.tf", "tostring(local.topology.sampling.keep_errors)", '"true"', "TRACERUN_KEEP_ERRORS is 'true'", MANY),
    Defect("flush in the background", "infra/environment.tf", '== "request" ? "on-idle" : "background"', '== "request" ? "background" : "background"', "TRACERUN_FLUSH is 'background'", MANY),
    Defect("all callers are believed", "infra/environment.tf", 'tostring(service.access == "private" && contains(local.called, name))', '"true"', "TRACERUN_TRUST_CALLERS is true", MANY),
    Defect("no caller is believed", "infra/environment.tf", 'tostring(service.access == "private" && contains(local.called, name))', '"false"', "TRACERUN_TRUST_CALLERS is false", MANY),
    Defect("the batching config under request billing", "infra/environment.tf", "}/${local.topology.billing}.yaml", "}/instance.yaml", "its collector has batch", MANY),
    Defect("a queue under request billing", "collector/request.yaml", "    sending_queue:\n      enabled: false", "    sending_queue:\n      enabled: true", "its collector has sending_queue", MANY),
    Defect("the health check moves", "collector/request.yaml", "0.0.0.0:13133", "0.0.0.0:13134", "its collector is probed at", MANY),
    Defect("the collector takes spans from anywhere", "collector/request.yaml", "localhost:4318", "0.0.0.0:4318", "its collector takes http at 0.0.0.0:4318", MANY),
    Defect("the collector takes more than it holds", "collector/request.yaml", "COLLECTOR_MEMORY_MIB:-160", "COLLECTOR_MEMORY_MIB:-300", "accepts spans up to 300 MiB of 256Mi", MANY),
    Defect("editor of the project", "infra/iam.tf", '"roles/telemetry.tracesWriter"', '"roles/editor"', "gives roles/editor in the whole project", MANY),
    Defect("a wider role for traces", "infra/iam.tf", '"roles/telemetry.tracesWriter"', '"roles/cloudtrace.agent"', "gives roles/cloudtrace.agent in the whole project", MANY),
    Defect("traces may not be written", "infra/iam.tf", "local.google ? local.services : {}", "{}", "roles/telemetry.tracesWriter is held by []", MANY),
    Defect("traces may be written for nothing", "infra/iam.tf", "local.google ? local.services : {}", "local.services", "needed by []", OTHER),
    Defect("everybody may call a private service", "infra/iam.tf", 'if service.access == "public" && ', "if ", "open to everybody: ['api']", PRIVATE),
    Defect("callers administer services", "infra/iam.tf", '"roles/run.invoker"', '"roles/run.admin"', "roles/run.admin", MANY),
    Defect("services may not call each other", "infra/iam.tf", "for callee in service.calls : { caller", "for callee in [] : { caller", "declared only: [('api', 'stock')", MANY),
    Defect("secrets are administered", "infra/iam.tf", '"roles/secretmanager.secretAccessor"', '"roles/secretmanager.admin"', "gives roles/secretmanager.admin", MANY),
    Defect("secrets are not readable", "infra/iam.tf", "for_each  = local.secret_readers", "for_each  = {}", "readable []", MANY),
    Defect("everybody may call each other", "infra/iam.tf", "for callee in service.calls : { caller", "for callee in keys(local.services) : { caller", "granted, but not declared: [('api', 'api')", CHAIN),
    Defect("callees may call their callers", "infra/iam.tf", "service = edge.callee, member = google_service_account.service[edge.caller].member", "service = edge.caller, member = google_service_account.service[edge.callee].member", "granted, but not declared: [('inventory', 'pricing')", CHAIN),
    Defect("nobody is sent a token", "infra/environment.tf", "length(local.private_callees[name]) == 0 ?", "length(local.private_callees[name]) < 9 ?", "TRACERUN_PRIVATE_CALLEES is absent, its private callees are ['pricing']", CHAIN),
    Defect("public services are sent a token", "infra/environment.tf", 'local.urls[callee] if local.services[callee].access == "private"', "local.urls[callee]", "its private callees are ['tax', 'account']", DIAMOND),
    Defect("who is sent a token is sorted", "infra/environment.tf", "for callee in service.calls : local.urls[callee] if", "for callee in sort(service.calls) : local.urls[callee] if", "its private callees are ['tax', 'account']", DIAMOND),
    Defect("a token for nobody", "infra/environment.tf", "length(local.private_callees[name]) == 0 ? {} :", "length(local.private_callees[name]) < 0 ? {} :", "TRACERUN_PRIVATE_CALLEES is , its private callees are []", CHAIN),
    Defect("services call themselves", "infra/environment.tf", '_URL" => local.urls[callee] }', '_URL" => local.urls[name] }', "which is not the address of pricing", CHAIN),
    Defect("variables keep dashes", "infra/environment.tf", 'upper(replace(callee, "-", "_"))', "upper(callee)", "FX_RATES_URL is None", DIAMOND),
    Defect("public services believe the other services", "infra/environment.tf", 'tostring(service.access == "private" && contains', "tostring(contains", "fx-rates: TRACERUN_TRUST_CALLERS is true, not false", DIAMOND),
    Defect("nobody enters the network", "infra/services.tf", "contains(keys(local.egress), each.key) ?", "contains([], each.key) ?", "api calls pricing, and leaves through no network", CHAIN),
    Defect("only the entry enters the network", "infra/network.tf", "    if anytrue([", '    if name == "api" && anytrue([', "pricing calls inventory, and leaves through no network", CHAIN),
    Defect("run.app has its public addresses", "infra/network.tf", '"*.run.app."', '"run.app."', "run.app is public there", CHAIN),
    Defect("the zone is of another name", "infra/network.tf", '= "run.app."', '= "a.run.app."', "run.app is public there", CHAIN),
    Defect("the zone is everybody's", "infra/network.tf", '"private"\n', '"public"\n', "run.app is public there", CHAIN),
    Defect("addresses for perimeters only", "infra/network.tf", '["199.36.153.8", "199.36.153.9", "199.36.153.10", "199.36.153.11"]', '["199.36.153.4", "199.36.153.5", "199.36.153.6", "199.36.153.7"]', "run.app is public there", CHAIN),
    Defect("the Internet is out of reach", "infra/network.tf", 'var.network == null ? "PRIVATE_RANGES_ONLY"', 'var.network == null ? "ALL_TRAFFIC"', "api sends ALL_TRAFFIC into the network that is made here", CHAIN),
    Defect("an existing network is thought to know run.app", "infra/network.tf", '&& !var.network.private_run_app ? "ALL_TRAFFIC"', '&& !var.network.private_run_app ? "PRIVATE_RANGES_ONLY" ', "run.app is public there", CHAIN, network='{"network":"shared","subnetwork":"apps"}'),
    Defect("Google is out of reach", "infra/network.tf", "private_ip_google_access = true", "private_ip_google_access = false", "private_ip_google_access", MANY),
]  # fmt: skip


def without_conditions(file: str, tests: str) -> Iterator[Defect]:
    """Yield a defect for each rule of `file` (a precondition or validation): it holds always."""
    text = (INFRA / file).read_text(encoding="utf-8")
    for number, found in enumerate(re.finditer(r"(?m)^    condition +=.*?(?=^    error_message)", text, re.DOTALL), 1):
        always = f"    condition = can({re.findall(r'var[.][a-z_]+', text[: found.end()])[-1]})\n"
        yield Defect(
            f"rule {number} of {file}", f"infra/{file}", found[0], always, "Missing expected failure", tests=tests
        )


RULES: Final = [
    *without_conditions("modules/topology/outputs.tf", "rules"),
    *without_conditions("variables.tf", "variables"),
]
