"""What topology.yaml may not say: Terraform refuses it in one error, and so does the checker."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from cloudrun import topology
from cloudrun.errors import TopologyError

from tests.infra.conftest import DIGEST
from tests.infra.topologies import Case, written

if TYPE_CHECKING:
    from pathlib import Path

    from tests.infra.tools import Terraform

Changes = dict[str, Any]

WRONG: dict[str, tuple[Changes, str]] = {
    "unknown key": ({"sampeling": {}}, "sampeling: no key here"),
    "unknown key of sampling": ({"sampling.ration": 1}, "sampling.ration: no key here"),
    "unknown key of a service": ({"services.api.cal": []}, "services.api.cal: no key here"),
    "empty service": ({"services.api": None}, "services: api has no keys"),
    "framework": ({"services.api.framework": "django"}, "services.api.framework: django: not allowed"),
    "access": ({"services.api.access": "open"}, "services.api.access: open: not allowed"),
    "ingress": ({"services.api.ingress": "none"}, "services.api.ingress: none: not allowed"),
    "cpu": ({"services.api.cpu": "3"}, "services.api.cpu: 3: not allowed"),
    "exporter": ({"exporter": "agent"}, "exporter: agent: not allowed"),
    "billing": ({"billing": "never"}, "billing: never: not allowed"),
    "topics": ({"topics": {"sold": {}}}, "topics: not supported by this version yet"),
    "database": ({"services.api.database": "postgres"}, "services.api.database: not supported by this version yet"),
    "publishes": ({"services.api.publishes": ["sold"]}, "services.api.publishes: not supported by this version yet"),
    "project": ({"project": "Shop!"}, 'project: "Shop!": use 1 to 15 lower-case letters'),
    "region": ({"region": "Europe"}, 'region: "Europe": use a region of Google Cloud'),
    "no entry": ({"services": {"web": {"framework": "go-nethttp"}}}, "services.api is missing"),
    "back end": ({"backend": "jaeger"}, 'backend: "jaeger": use google, or the http(s) URL'),
    "sidecar elsewhere": ({"backend": "https://otlp.example"}, "the sidecar sends to Google only"),
    "headers for Google": ({"backend_headers_secret": "h"}, "backend: google needs no headers"),
    "ratio": ({"sampling.ratio": 7}, "sampling.ratio: must be between 0 and 1, got 7"),
    "bound": ({"sampling.max_traces_per_second": -1}, "must be 0 or more"),
    "unknown callee": ({"services.api.calls": ["prices"]}, "api calls prices"),
    "call of itself": ({"services.api.calls": ["api"]}, "api calls api"),
    "call that stands twice": (
        {"services.stock": {"framework": "python-fastapi"}, "services.api.calls": ["stock", "stock"]},
        "services.api.calls: name each service once",
    ),
    "internal entry": ({"services.api.ingress": "internal"}, "services: api: internal, so nobody could reach it"),
    "internal, and not called": (
        {"services.stock": {"framework": "python-fastapi", "ingress": "internal"}},
        "services: stock: internal, so nobody could reach it",
    ),
    "internal, and called by each other only": (
        {
            "services.stock": {"framework": "python-fastapi", "ingress": "internal", "calls": ["audit"]},
            "services.audit": {"framework": "python-fastapi", "ingress": "internal", "calls": ["stock"]},
        },
        "services: audit, stock: internal, so nobody could reach it",
    ),
    "too many": (
        {f"services.s{number}": {"framework": "python-fastapi"} for number in range(20)},
        "services: there are 21: use 20 at most",
    ),
    "taken name": (
        {"services.slow": {"framework": "python-fastapi"}},
        "services: slow: use 1 to 15 lower-case letters",
    ),
    "platform's variable": ({"services.api.env": {"PORT": "1"}}, "services.api: PORT: use letters, digits and _"),
    "variable's name": ({"services.api.secrets": {"A-B": "x"}}, "services.api: A-B: use letters, digits and _"),
    "secret's name": ({"services.api.secrets": {"KEY": "a/b"}}, "services.api.secrets.KEY: a/b: use the name of a"),
    "env and secret": (
        {"services.api.env": {"KEY": "1"}, "services.api.secrets": {"KEY": "x"}},
        "services.api: KEY: stands in env and in secrets",
    ),
    "least above most": ({"services.api.min_instances": 11}, "services.api: min_instances must be 0 or more"),
    "concurrency": ({"services.api.concurrency": 1001}, "services.api: min_instances must be 0 or more"),
    "memory": ({"services.api.memory": "5Gi"}, "services.api has cpu 1 and memory 5Gi"),
    "memory of many CPUs": ({"services.api.cpu": "8"}, "services.api has cpu 8 and memory 512Mi"),
    "memory's unit": ({"services.api.memory": "512MB"}, "services.api has cpu 1 and memory 512MB"),
}


def changed(changes: Changes) -> dict[str, Any]:
    data = Case().data
    for path, value in changes.items():
        *folders, key = path.split(".")
        inner = data
        for folder in folders:
            inner = inner[folder]
        inner[key] = value
    return data


@pytest.mark.slow
@pytest.mark.parametrize("mistake", WRONG)
def test_terraform_refuses_it_in_one_error(planner: Terraform, tmp_path: Path, mistake: str) -> None:
    changes, reason = WRONG[mistake]
    result = planner.having(**written(changed(changes), tmp_path)).run("plan", "-input=false", "-lock=false")
    assert result.code == 1
    assert result.text.count("Error:") == 1, result.text
    assert f"topology.yaml: {reason}" in result.text or reason in result.text, result.text


@pytest.mark.parametrize("mistake", WRONG)
def test_the_checker_refuses_it_too(rendered: Path, tmp_path: Path, mistake: str) -> None:
    (tmp_path / "topology.yaml").write_text(json.dumps(changed(WRONG[mistake][0])))
    shutil.copy(rendered / "topology.schema.json", tmp_path)
    shutil.copytree(rendered / "collector", tmp_path / "collector")
    with pytest.raises(TopologyError):
        topology.load(tmp_path)


@pytest.mark.slow
def test_what_is_right_is_refused_by_neither(rendered: Path, tmp_path: Path, planner: Terraform) -> None:
    variables = written(changed({"services.api.secrets": {"KEY": "key:3"}}), tmp_path)
    shutil.copy(rendered / "topology.schema.json", tmp_path)
    shutil.copytree(rendered / "collector", tmp_path / "collector")
    assert topology.load(tmp_path).services["api"].secrets == {"KEY": "key:3"}
    planner.having(**variables).must("plan", "-input=false", "-lock=false")


VARIABLES = [
    ("project_id", "123456789", "set the project's id in infra/terraform.tfvars"),
    ("environment", "Prod=1,", "use up to 30 lower-case letters"),
    ("images", '{"api":"x/api:latest"}', "a tag other than latest"),
    ("invokers", '{"api":["allUsers"]}', "whom everybody may call says `access: public`"),
    (
        "invokers",
        '{"apis":["group:shop@example.com"]}',
        "invokers: apis: no such service in topology.yaml, which has api",
    ),
    ("public_access", "everybody", "use allUsers or unchecked"),
    ("collector_image", "otelcol-google:0.143.0", "name version 0.156.1 or newer"),
    ("collector_memory_mib", "64", "at least 128"),
    ("collector_cpu", "1.5", "use 1, 2 or a value from 0.08"),
    ("network", '{"network":"n","subnetwork":"s","egress":"SOME"}', "use ALL_TRAFFIC or PRIVATE_RANGES_ONLY"),
    ("traffic", '{"api":{"a":60,"b":60}}', "make at most 100 for each service"),
    ("traffic", '{"shop-api":{"a":60}}', "traffic: shop-api: no such service in topology.yaml, which has api"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value", "reason"), VARIABLES)
def test_a_wrong_variable_is_refused_in_words(
    planner: Terraform, tmp_path: Path, name: str, value: str, reason: str
) -> None:
    result = planner.having(**{**Case().written(tmp_path), name: value}).run("plan", "-input=false", "-lock=false")
    assert result.code == 1
    assert result.text.count("Error:") == 1, result.text
    assert reason in " ".join(result.text.split())


@pytest.mark.slow
@pytest.mark.parametrize("image", ["0.156.1", "0.156.10", "0.157.0", "1.0.0"])
def test_newer_collectors_are_allowed(planner: Terraform, tmp_path: Path, image: str) -> None:
    copy = planner.having(**Case().written(tmp_path), collector_image=f"mirror/otelcol-google:{image}")
    copy.must("plan", "-input=false", "-lock=false")


@pytest.mark.slow
def test_digests_are_accepted_everywhere(planner: Terraform, tmp_path: Path) -> None:
    copy = planner.having(**Case().written(tmp_path), collector_image=f"mirror/otelcol@{DIGEST}")
    copy.must("plan", "-input=false", "-lock=false")
