"""`make plan-check`, as a user and a CI run it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from tests.infra.conftest import DIGEST
from tests.infra.tools import Terraform
from tests.infra.topologies import Case
from tests.project import NOT_COPIED, make

if TYPE_CHECKING:
    from pathlib import Path

    from tests.infra.tools import Provider


@pytest.fixture
def own(rendered: Path, tmp_path: Path) -> Path:
    """A rendered project that the test may change; what judges its plans is installed once for all."""
    with FileLock(f"{rendered}.lock"):
        result = make(rendered, "infra/.venv/.ready")
        assert result.returncode == 0, result.stdout + result.stderr
    copy = tmp_path / "orders"
    shutil.copytree(rendered, copy, ignore=shutil.ignore_patterns(*NOT_COPIED))
    (copy / "infra" / ".venv").symlink_to(rendered / "infra" / ".venv")
    return copy


def plan_check(project: Path, google: Provider, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value
        for name, value in Terraform(project, google, variables).environment.items()
        if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    }
    return subprocess.run(
        ["make", "plan-check", *arguments], cwd=project, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_new_project_passes_without_an_account(own: Path, google: Provider) -> None:
    result = plan_check(own, google)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.findall(r"Success! (\d+) passed, 0 failed.", result.stdout) == ["59", "2"], (
        "the template's, the project's"
    )
    assert "Scenario: Every container says what it may use and when it has CPU" in result.stdout
    again = plan_check(own, google)
    assert again.returncode == 0, "what a first run leaves behind does not disturb a second"


@pytest.mark.slow
def test_a_chain_passes_without_an_account(own: Path, google: Provider) -> None:
    (own / "topology.yaml").write_text(json.dumps(Case(services="chain").data))
    result = plan_check(own, google)
    assert result.returncode == 0, result.stdout + result.stderr
    plan = (own / "infra" / ".offline" / "infra" / "plan.json").read_text()
    assert plan.count("TRACERUN_PRIVATE_CALLEES") >= 2


@pytest.mark.slow
def test_an_environment_is_checked_with_its_values(own: Path, google: Provider) -> None:
    (own / "infra" / "environments").mkdir()
    values = 'environment = "staging"\nproject_id  = "orders-staging"\n'
    (own / "infra" / "environments" / "staging.tfvars").write_text(values)
    assert plan_check(own, google, "ENV=staging").returncode == 0
    plan = (own / "infra" / ".offline" / "infra" / "plan.json").read_text()
    assert "deployment.environment.name=staging" in plan
    missing = plan_check(own, google, "ENV=production")
    assert missing.returncode != 0
    assert "there is no infra/environments/production.tfvars: create it" in missing.stderr


VALUES = """project_id           = "orders-1234"
artifact_registry    = false
collector_cpu        = "0.5"
collector_memory_mib = 512
deletion_protection  = false
enable_apis          = false
environment          = "blue"
invokers             = { api = ["group:shop@example.com"] }
labels               = { team = "shop" }
liveness_probes      = true
network              = { network = "shared", subnetwork = "apps", egress = "ALL_TRAFFIC", private_run_app = true }
project_number       = "987654321098"
public_access        = "unchecked"
"""


@pytest.mark.slow
def test_every_value_that_a_user_may_set_passes(own: Path, google: Provider) -> None:
    (own / "infra" / "terraform.tfvars").write_text(VALUES)
    (own / "infra" / "images.auto.tfvars.json").write_text(json.dumps({"images": {"api": f"x/api:1@{DIGEST}"}}))
    (own / "infra" / "extra.tf").write_text('resource "google_compute_network" "egress_too" {\n  name = "mine"\n}\n')
    result = plan_check(own, google, traffic='{"api":{"orders-api-00041-abc":90}}')
    assert result.returncode == 0, result.stdout + result.stderr
    plan = (own / "infra" / ".offline" / "infra" / "plan.json").read_text()
    for value in ("deployment.environment.name=blue", "orders-api-00041-abc", '"subnetwork":"apps"', '"mine"'):
        assert value in plan, "the plan has the values"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "before", "after", "said"),
    [
        (
            "infra/services.tf",
            'cpu_idle          = local.topology.billing == "request"',
            "cpu_idle          = false",
            "api/app has cpu_idle = False",
        ),
        ("infra/iam.tf", "  role     =", "  role =", "- role ="),
        ("topology.yaml", "billing: request", "billing: never", "topology.yaml: billing: never: not allowed"),
        (
            "infra/main.tf",
            "  service            = each.value",
            "  services           = each.value",
            "Unsupported argument",
        ),
    ],
)
def test_what_is_wrong_fails(own: Path, google: Provider, file: str, before: str, after: str, said: str) -> None:
    path = own / file
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after, 1))
    result = plan_check(own, google)
    assert result.returncode != 0
    assert said in " ".join((result.stdout + result.stderr).replace("│", "").split()), result.stdout + result.stderr


@pytest.mark.slow
def test_own_roles_in_the_project_are_allowed_by_name_only(own: Path, google: Provider) -> None:
    (own / "infra" / "extra.tf").write_text(
        """resource "google_project_iam_member" "logs" {
  project = var.project_id
  role    = "roles/logging.viewer"
  member  = "group:ops@example.com"
}
"""
    )
    refused = plan_check(own, google)
    assert refused.returncode != 0
    assert "google_project_iam_member.logs gives roles/logging.viewer in the whole project" in refused.stdout
    with (own / "infra" / "compliance" / "own-project-roles.txt").open("a") as file:
        file.write("roles/logging.viewer\n")
    assert plan_check(own, google).returncode == 0
