"""Terraform and the offline Cloud Run agree, in every combination: variables, ports, probes, billing, rights."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from cloudrun import collector, environment
from cloudrun.environment import Addresses
from cloudrun.instance import HEALTH_PATH
from cloudrun.probe import STARTUP_LIMIT

from tests.infra.conftest import PROJECT_ID, PROJECT_NUMBER
from tests.infra.planned import resource_attributes
from tests.infra.topologies import ALL, CHAINS, DIMENSIONS, EXPORTS, OTHER, Case, pairwise
from tests.project import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudrun.topology import Topology

    from tests.infra.planned import Container, Plan

PORT = 8080
ADDRESSES = {"OTEL_EXPORTER_OTLP_ENDPOINT"}
"""Variables whose value is an address: the offline Cloud Run has its own."""
RESOURCE_OF_A_RUN = {"gcp.project_id", "service.version", "deployment.environment.name"}
"""Resource attributes that name a project, a release or an environment."""
OF_THE_IMAGE = {"OTEL_CONFIG"}
"""Variables of the collector that stand for its file, which the offline Cloud Run starts it with."""
COLLECTORS = {
    billing: (REPOSITORY / "template" / "collector" / f"{billing}.yaml").read_text()
    for billing in DIMENSIONS["billing"]
}

QUICK = [Case(), Case(services="chain")]
"""What every commit must pass."""
SLOW = {True: [pytest.mark.slow], False: []}

every_case = pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=SLOW[case not in QUICK]) for case in dict.fromkeys([*QUICK, *CHAINS, *pairwise()])],
    ids=str,
)


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The offline Cloud Run takes secrets from its own environment."""
    for name in ("API_KEY", "SIGNING_KEY", "OTEL_EXPORTER_OTLP_HEADERS"):
        monkeypatch.setenv(name, "from the environment")


def differences(app: Container, simulated: dict[str, str]) -> list[str]:
    """Name every key in which the planned container and the simulated one differ."""
    planned: dict[str, str | None] = dict(app.values)
    found = [f"{key}: in Terraform only" for key in planned.keys() - simulated.keys()]
    found += [f"{key}: a secret in Terraform only" for key in app.secrets.keys() - simulated.keys()]
    found += [f"{key}: in the offline Cloud Run only" for key in simulated.keys() - planned.keys() - app.secrets.keys()]
    for key in planned.keys() & simulated.keys() - ADDRESSES - {"OTEL_RESOURCE_ATTRIBUTES"}:
        if planned[key] != simulated[key]:
            found.append(f"{key}: {planned[key]!r} in Terraform, {simulated[key]!r} in the offline Cloud Run")
    ours, theirs = resource_attributes(planned), resource_attributes(simulated)
    if list(ours) != list(theirs):
        found.append(f"OTEL_RESOURCE_ATTRIBUTES: {list(ours)} in Terraform, {list(theirs)} in the offline Cloud Run")
    for key in ours.keys() & theirs.keys() - RESOURCE_OF_A_RUN:
        if ours[key] != theirs[key]:
            found.append(f"OTEL_RESOURCE_ATTRIBUTES.{key}: {ours[key]!r} in Terraform, {theirs[key]!r} offline")
    return found


def addresses_of(topology: Topology) -> Addresses:
    """Return addresses in which only those of the services mean something."""
    known: dict[str, Any] = {
        "otlp": {"http/protobuf": "http", "grpc": "grpc"},
        "services": {name: url(topology, name) for name in topology.services},
    }
    return Addresses(**{field.name: known.get(field.name, "") for field in dataclasses.fields(Addresses)})


def url(topology: Topology, service: str) -> str:
    return f"https://{topology.project}-{service}-{PROJECT_NUMBER}.{topology.region}.run.app"


@pytest.mark.usefixtures("secrets")
@every_case
def test_containers_get_what_the_offline_cloud_run_gives_them(plan_of: Callable[..., Plan], case: Case) -> None:
    plan, topology = plan_of(case), case.topology
    addresses = addresses_of(topology)
    assert set(plan.services) == set(topology.services)
    for name, service in topology.services.items():
        containers = plan.containers(name)
        assert list(containers) == (["app", "collector"] if case.export == "sidecar" else ["app"])
        assert not differences(containers["app"], environment.contract(topology, service, addresses)), name
        platform = environment.platform(topology, service, PORT)
        assert plan.services[name]["name"] == platform["K_SERVICE"]
        assert not platform.keys() & containers["app"].values.keys(), "the platform sets these itself"
        if case.export == "sidecar":
            planned = containers["collector"].values
            assert {key: planned[key] for key in planned if key not in OF_THE_IMAGE} == {
                **collector.contract(),
                "GOOGLE_CLOUD_PROJECT": PROJECT_ID,
            }


@every_case
def test_each_export_has_its_address_its_signer_and_its_rights(plan_of: Callable[..., Plan], case: Case) -> None:
    plan = plan_of(case)
    wanted = {
        "sidecar": ("http://localhost:4318", "none", "google"),
        "direct": ("https://telemetry.googleapis.com", "google", "google"),
        "other": (OTHER, "none", "other"),
        "other-with-headers": (OTHER, "none", "other"),
    }[case.export]
    writers = plan.after("google_project_iam_member")
    for name in plan.services:
        app = plan.containers(name)["app"]
        keys = ("OTEL_EXPORTER_OTLP_ENDPOINT", "TRACERUN_EXPORT_AUTH", "TRACERUN_BACKEND")
        assert tuple(app.values[key] for key in keys) == wanted
        assert ("OTEL_EXPORTER_OTLP_HEADERS" in app.secrets) == (case.export == "other-with-headers")
    member = "serviceAccount:shop-{}@offline-project.iam.gserviceaccount.com"
    to_google = case.export in {"sidecar", "direct"}
    assert {(grant["role"], grant["member"], grant["project"]) for grant in writers.values()} == {
        ("roles/telemetry.tracesWriter", member.format(name), PROJECT_ID) for name in plan.services if to_google
    }


@every_case
def test_only_callers_may_call(plan_of: Callable[..., Plan], case: Case) -> None:
    plan, topology = plan_of(case), case.topology
    account = {name: f"serviceAccount:{plan.account(name)}" for name in plan.services}
    assert len(set(account.values())) == len(account), "an account for each service"
    wanted = {
        (f"shop-{callee}", account[name]) for name, service in topology.services.items() for callee in service.calls
    }
    public = {(f"shop-{name}", "allUsers") for name, service in topology.services.items() if service.access == "public"}
    assert plan.callers == wanted | public
    for name in topology.services:
        trusts = plan.containers(name)["app"].values["TRACERUN_TRUST_CALLERS"] == "true"
        called_by_services_only = {member for service, member in plan.callers if service == f"shop-{name}"}
        assert trusts == bool(called_by_services_only and called_by_services_only <= set(account.values()))


@every_case
def test_ports_probes_billing_and_order_are_those_of_the_offline_cloud_run(
    plan_of: Callable[..., Plan], case: Case
) -> None:
    plan, topology = plan_of(case), case.topology
    for name, service in topology.services.items():
        containers = plan.containers(name)
        app = containers["app"]
        is_grpc = service.framework.endswith("-grpc")
        assert app.data["ports"] == [{"name": "h2c" if is_grpc else "http1", "container_port": PORT}]
        probe = app.probe()
        if is_grpc:
            assert (probe["grpc"][0]["port"], "http_get" in probe) == (PORT, False)
        else:
            assert (probe["http_get"][0]["path"], "grpc" in probe) == (HEALTH_PATH, False)
        assert next(iter(containers)) == "app", "the container with the port stands first"
        for container in containers.values():
            assert container.resources["cpu_idle"] is (case.billing == "request")
            probe = container.probe()
            assert probe["period_seconds"] * probe["failure_threshold"] == STARTUP_LIMIT
        if case.export == "sidecar":
            sidecar = containers["collector"]
            assert app.data["depends_on"] == ["collector"]
            assert sidecar.probe()["http_get"][0]["path"] == "/"
            assert sidecar.probe()["http_get"][0]["port"] == 13133
            assert sidecar.values["OTEL_CONFIG"] == COLLECTORS[case.billing]
            assert sidecar.data["args"] == ["--config=env:OTEL_CONFIG"]
            assert not sidecar.data["ports"]


def test_the_image_listens_where_cloud_run_asks() -> None:
    (dockerfile,) = (REPOSITORY / "template" / "services").rglob("Dockerfile")
    assert f"EXPOSE {PORT}" in dockerfile.read_text()


def test_no_pair_of_values_is_left_out() -> None:
    cases = pairwise()
    assert len(cases) < len(ALL) / 3
    for export in EXPORTS:
        for billing in DIMENSIONS["billing"]:
            assert any(case.export == export and case.billing == billing for case in cases)
