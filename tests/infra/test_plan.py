"""What variables and one-sided values of topology.yaml make of the plan."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cloudrun.protocols import protocol_of

from tests.infra.conftest import DIGEST, terraform
from tests.infra.planned import Plan, resource_attributes
from tests.infra.tools import compliance
from tests.infra.topologies import Case, each_value, written

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.infra.tools import Provider, Terraform

pytestmark = pytest.mark.slow


def test_one_sided_values_reach_the_service(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(Case(services="many"))
    (template,) = plan.services["api"]["template"]
    app = plan.containers("api")["app"]
    assert template["max_instance_request_concurrency"] == 31
    (scaling,) = template["scaling"]
    assert (scaling["min_instance_count"], scaling["max_instance_count"]) == (1, 7)
    assert app.resources["limits"] == {"cpu": "2", "memory": "1Gi"}
    assert app.values["LOG_LEVEL"] == "debug"
    assert app.values["OTEL_SDK_DISABLED"] == "true", "a service's own variables override"
    assert app.secrets == {"API_KEY": ("partner-key", "latest"), "SIGNING_KEY": ("signing", "7")}
    readers = plan.after("google_secret_manager_secret_iam_member").values()
    assert {(grant["secret_id"], grant["role"], grant["member"]) for grant in readers} == {
        (secret, "roles/secretmanager.secretAccessor", f"serviceAccount:{plan.account('api')}")
        for secret in ("partner-key", "signing")
    }
    assert plan.containers("audit")["app"].resources["limits"] == {"cpu": "1", "memory": "512Mi"}


def test_a_secret_takes_the_place_of_a_variable_of_the_same_name(planner: Terraform, tmp_path: Path) -> None:
    data = Case(export="other").data
    data["services"]["api"]["secrets"] = {"OTEL_EXPORTER_OTLP_ENDPOINT": "where"}
    plan = Plan(planner.having(**written(data, tmp_path)).plan())
    app = plan.containers("api")["app"]
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" not in app.values
    assert app.secrets["OTEL_EXPORTER_OTLP_ENDPOINT"] == ("where", "latest")


FOR_TRACES, FOR_ALL = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"
PROTOCOLS: dict[str, tuple[dict[str, str], str]] = {
    "api": ({}, "http/protobuf"),
    "for-all": ({FOR_ALL: "grpc"}, "grpc"),
    "for-traces": ({FOR_TRACES: "grpc"}, "grpc"),
    "both": ({FOR_TRACES: "http/protobuf", FOR_ALL: "grpc"}, "http/protobuf"),
    "empty-form": ({FOR_TRACES: "", FOR_ALL: "grpc"}, "grpc"),
    "empty": ({FOR_TRACES: "", FOR_ALL: ""}, "http/protobuf"),
}
"""What a service's env says of the protocol, and what it means."""


def test_the_first_protocol_that_is_not_empty_chooses_the_collectors_port(planner: Terraform, tmp_path: Path) -> None:
    data = Case().data
    data["services"] = {name: {"framework": "python-fastapi", "env": env} for name, (env, _) in PROTOCOLS.items()}
    planned = planner.having(**written(data, tmp_path)).plan()
    for name, (env, protocol) in PROTOCOLS.items():
        app = Plan(planned).containers(name)["app"]
        port = {"http/protobuf": 4318, "grpc": 4317}[protocol]
        assert app.values["OTEL_EXPORTER_OTLP_ENDPOINT"] == f"http://localhost:{port}", name
        assert protocol_of(env) == protocol, f"{name}: the offline Cloud Run means another"
    judged = compliance(planner.root, planned)
    assert judged.code == 0, judged.text


def test_only_callers_of_internal_services_leave_through_the_network(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(Case(services="many"))
    egress = {name: [access["egress"] for access in plan.network_access(name)] for name in plan.services}
    through = ["PRIVATE_RANGES_ONLY"]
    assert egress == {"api": through, "price-list": through, "stock": [], "audit": []}
    assert {name: service["ingress"] for name, service in plan.services.items()} == {
        "api": "INGRESS_TRAFFIC_ALL",
        "audit": "INGRESS_TRAFFIC_ALL",
        "price-list": "INGRESS_TRAFFIC_ALL",
        "stock": "INGRESS_TRAFFIC_INTERNAL_ONLY",
    }
    assert [subnet["private_ip_google_access"] for subnet in plan.after("google_compute_subnetwork").values()] == [True]
    (zone,) = plan.after("google_dns_managed_zone").values()
    (record,) = plan.after("google_dns_record_set").values()
    assert (zone["dns_name"], zone["visibility"]) == ("run.app.", "private")
    assert (record["name"], record["managed_zone"]) == ("*.run.app.", zone["name"])
    assert record["rrdatas"] == [f"199.36.153.{host}" for host in range(8, 12)]
    assert not plan_of(Case()).after("google_compute_network"), "nothing that nobody needs"


def test_an_existing_network_is_used(plan_of: Callable[..., Plan]) -> None:
    network = '{"network":"shared","subnetwork":"apps","tags":["run"]}'
    plan = plan_of(Case(services="many"), network=network)
    accesses = {name: plan.network_access(name)[0] for name in plan.services}
    assert {name: access["egress"] for name, access in accesses.items()} == {
        "api": "ALL_TRAFFIC",
        "price-list": "ALL_TRAFFIC",
        "stock": "PRIVATE_RANGES_ONLY",
        "audit": "PRIVATE_RANGES_ONLY",
    }
    for access in accesses.values():
        assert access["network_interfaces"] == [{"network": "shared", "subnetwork": "apps", "tags": ["run"]}]
    for kind in ("google_compute_network", "google_compute_subnetwork", "google_dns_managed_zone"):
        assert not plan.after(kind), "what is there already is not made again"


@pytest.mark.parametrize("egress", ["ALL_TRAFFIC", "PRIVATE_RANGES_ONLY"])
def test_an_existing_network_that_leads_to_internal_services_is_used_as_it_says(
    plan_of: Callable[..., Plan], egress: str
) -> None:
    network = json.dumps({"network": "shared", "subnetwork": "apps", "egress": egress, "private_run_app": True})
    plan = plan_of(Case(services="chain"), network=network)
    assert [plan.network_access(name)[0]["egress"] for name in plan.services] == [egress] * 3


def test_a_public_service_can_do_without_all_users(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(Case(), public_access="unchecked")
    assert not plan.callers
    assert plan.services["api"]["invoker_iam_disabled"] is True
    assert plan_of(Case()).services["api"]["invoker_iam_disabled"] is False
    private = plan_of(Case(access="private"), public_access="unchecked")
    assert private.services["api"]["invoker_iam_disabled"] is False, "a private service is always checked"


def test_named_members_may_call_a_private_service(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(Case(access="private"), invokers='{"api":["group:shop@example.com"]}')
    assert plan.callers == {("shop-api", "group:shop@example.com")}


def test_a_chain_is_open_at_its_entry_only(plan_of: Callable[..., Plan]) -> None:
    invokers = '{"pricing":["user:ops@example.com"]}'
    for access, everybody in (("public", {("shop-api", "allUsers")}), ("private", set())):
        plan = plan_of(Case(services="chain", access=access), invokers=invokers)
        account = {
            name: f"serviceAccount:shop-{name}@offline-project.iam.gserviceaccount.com" for name in plan.services
        }
        assert {name: f"serviceAccount:{plan.account(name)}" for name in plan.services} == account
        assert plan.callers == everybody | {
            ("shop-pricing", account["api"]),
            ("shop-pricing", "user:ops@example.com"),
            ("shop-inventory", account["pricing"]),
        }
        assert {
            name: service["ingress"].removeprefix("INGRESS_TRAFFIC_") for name, service in plan.services.items()
        } == {
            "api": "ALL",
            "pricing": "INTERNAL_ONLY",
            "inventory": "INTERNAL_ONLY",
        }


def test_a_caller_knows_the_addresses_of_its_callees_and_which_of_them_ask_for_a_token(
    plan_of: Callable[..., Plan],
) -> None:
    def url(service: str) -> str:
        return f"https://shop-{service}-123456789012.us-east4.run.app"

    private = plan_of(Case(services="diamond", access="private"))
    values = {name: private.containers(name)["app"].values for name in private.services}
    assert values["api"]["TRACERUN_PRIVATE_CALLEES"] == f"{url('tax')},{url('account')}"
    assert values["fx-rates"]["TRACERUN_PRIVATE_CALLEES"] == f"{url('ledger')},{url('api')}"
    assert [name for name in values if "TRACERUN_PRIVATE_CALLEES" not in values[name]] == ["account", "ledger"]
    assert values["api"]["FX_RATES_URL"] == url("fx-rates")
    public = plan_of(Case(services="diamond")).containers("fx-rates")["app"].values
    assert public["TRACERUN_PRIVATE_CALLEES"] == url("ledger")


def test_the_image_repository_comes_first(
    project_copy: Callable[[Path], Path], google: Provider, tmp_path: Path
) -> None:
    variables = {**Case(services="chain").written(tmp_path), "images": "{}"}
    copy = terraform(project_copy(tmp_path / "orders"), google, **variables)
    copy.must("apply", "-auto-approve", "-input=false", "-target=google_artifact_registry_repository.images")
    assert "google_cloud_run_v2_service" not in copy.must("state", "list").text


def test_a_single_service_grows_into_a_chain_without_being_replaced(
    project_copy: Callable[[Path], Path], google: Provider, tmp_path: Path
) -> None:
    copy = terraform(project_copy(tmp_path / "orders"), google, **Case().written(tmp_path))
    copy.must("apply", "-auto-approve", "-input=false")
    grown = copy.having(**Case(services="chain").written(tmp_path))
    changes = grown.plan()["resource_changes"]
    actions = {change["address"]: change["change"]["actions"] for change in changes}
    assert actions['google_cloud_run_v2_service.service["api"]'] == ["update"]
    assert actions['google_service_account.service["api"]'] == ["no-op"]
    assert not [address for address, action in actions.items() if "delete" in action]


def test_traffic_goes_to_the_newest_revision_or_where_it_is_sent(plan_of: Callable[..., Plan]) -> None:
    newest = {"percent": 100, "revision": None, "tag": None, "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"}
    assert plan_of(Case()).services["api"]["traffic"] == [newest]
    old = {**newest, "percent": 90, "revision": "shop-api-1", "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"}
    canary = plan_of(Case(), traffic='{"api":{"shop-api-1":90}}').services["api"]["traffic"]
    assert canary == [old, {**newest, "percent": 10}]
    rollback = plan_of(Case(), traffic='{"api":{"shop-api-1":100}}').services["api"]["traffic"]
    assert rollback == [{**old, "percent": 100}]


def test_liveness_probes_are_there_on_demand(plan_of: Callable[..., Plan]) -> None:
    assert not plan_of(Case()).containers("api")["app"].data["liveness_probe"]
    for protocol, kind in (("http", "http_get"), ("grpc", "grpc")):
        containers = plan_of(Case(protocol=protocol), liveness_probes="true").containers("api")
        assert kind in containers["app"].probe("liveness_probe")
        assert "http_get" in containers["collector"].probe("liveness_probe")


def test_the_collector_learns_its_memory(plan_of: Callable[..., Plan]) -> None:
    sidecar = plan_of(Case(), collector_memory_mib="512", collector_cpu="0.5").containers("api")["collector"]
    assert sidecar.resources["limits"] == {"cpu": "0.5", "memory": "512Mi"}
    assert sidecar.values["COLLECTOR_MEMORY_MIB"] == "320"
    usual = plan_of(Case()).containers("api")["collector"]
    assert usual.resources["limits"] == {"cpu": "1", "memory": "256Mi"}
    assert "COLLECTOR_MEMORY_MIB" not in usual.values


@pytest.mark.parametrize(
    ("image", "version"),
    [
        (f"x/api@{DIGEST}", DIGEST[7:19]),
        ("x/api:1.4.2", "1.4.2"),
        (f"x/api:1.4.2@{DIGEST}", "1.4.2"),
        ("localhost:5000/api:v1", "v1"),
        (f"localhost:5000/api@{DIGEST}", DIGEST[7:19]),
    ],
)
def test_spans_name_the_version_of_the_image(plan_of: Callable[..., Plan], image: str, version: str) -> None:
    plan = plan_of(Case(), images=f'{{"api":"{image}"}}')
    assert resource_attributes(plan.containers("api")["app"].values)["service.version"] == version


def test_apis_are_those_that_are_used(plan_of: Callable[..., Plan]) -> None:
    usual = {"artifactregistry", "cloudresourcemanager", "iam", "run"}

    def apis(plan: Plan) -> set[str]:
        return {name.removesuffix(".googleapis.com") for name in plan.after("google_project_service")}

    assert apis(plan_of(Case())) == usual | {"cloudtrace", "telemetry"}
    assert apis(plan_of(Case(export="other"))) == usual
    assert apis(plan_of(Case(export="other-with-headers"))) == usual | {"secretmanager"}
    network = {"compute", "dns"}
    assert apis(plan_of(Case(services="chain"))) == usual | {"cloudtrace", "telemetry"} | network
    assert apis(plan_of(Case(services="many"))) == usual | {"cloudtrace", "telemetry", "secretmanager"} | network
    assert not apis(plan_of(Case(), enable_apis="false"))


def test_environments_differ_by_variables_alone(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(Case(), project_id="shop-staging", environment="staging", deletion_protection="false")
    values = resource_attributes(plan.containers("api")["app"].values)
    assert (values["gcp.project_id"], values["deployment.environment.name"]) == ("shop-staging", "staging")
    assert plan.services["api"]["deletion_protection"] is False
    assert plan_of(Case()).services["api"]["deletion_protection"] is True


def test_what_is_deployed_stays_when_no_image_is_named(planner: Terraform, tmp_path: Path) -> None:
    result = planner.having(**{**Case().written(tmp_path), "images": "{}"}).run("plan", "-input=false")
    # The stand-in reads a service without containers; a real one has its app.
    assert "data.google_cloud_run_v2_service.deployed" in result.text


@pytest.mark.parametrize("case", each_value(), ids=str)
def test_applied_once_nothing_is_left_to_change(
    project_copy: Callable[[Path], Path], google: Provider, tmp_path: Path, case: Case
) -> None:
    copy = terraform(project_copy(tmp_path / "orders"), google, **case.written(tmp_path))
    copy.must("apply", "-auto-approve", "-input=false")
    again = copy.run("plan", "-input=false", "-detailed-exitcode")
    assert again.code == 0, again.text
    copy.must("destroy", "-auto-approve", "-input=false")


@pytest.mark.parametrize("case", each_value(), ids=str)
def test_the_oldest_supported_provider_plans_the_same(
    planner: Terraform, google_7: Provider, tmp_path: Path, plan_of: Callable[..., Plan], case: Case
) -> None:
    old = Plan(replace(planner, provider=google_7).having(**case.written(tmp_path)).plan())
    new = plan_of(case)
    assert old.services.keys() == new.services.keys()
    for name in new.services:
        for container, planned in new.containers(name).items():
            assert old.containers(name)[container].values == planned.values
            assert old.containers(name)[container].probe() == planned.probe()
    assert old.callers == new.callers


def test_a_plan_takes_two_seconds_at_most(planner: Terraform, tmp_path: Path) -> None:
    copy = planner.having(**Case(services="many").written(tmp_path))
    seconds = []
    for _ in range(3):
        began = time.monotonic()
        copy.must("plan", "-input=false", "-lock=false")
        seconds.append(time.monotonic() - began)
    assert min(seconds) <= 2, f"plans took {seconds}"
