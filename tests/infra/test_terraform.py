"""The files are well-formed for every supported provider, and the stand-in that says so is no yes-man."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.infra.conftest import terraform

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.infra.tools import Provider


def test_formatted(project_copy: Callable[[Path], Path], google: Provider, tmp_path: Path) -> None:
    copy = terraform(project_copy(tmp_path / "orders"), google)
    copy.must("fmt", "-check", "-recursive", "-diff")


@pytest.mark.parametrize("release", ["google", "google_7"])
def test_valid(
    project_copy: Callable[[Path], Path], request: pytest.FixtureRequest, tmp_path: Path, release: str
) -> None:
    terraform(project_copy(tmp_path / "orders"), request.getfixturevalue(release)).must("validate")


def test_the_schemas_are_those_of_the_supported_releases(google: Provider, google_7: Provider) -> None:
    assert google.schema["version"].startswith("8.")
    assert google_7.schema["version"] == "7.46.1"
    service = google.schema["resource"]["google_cloud_run_v2_service"]
    assert service["attributes"]["location"] == {"required": True, "type": "string"}
    assert (
        "liveness_probe"
        in service["block_types"]["template"]["block"]["block_types"]["containers"]["block"]["block_types"]
    )


WRONG = {
    "misspelt argument": ("max_instance_request_concurrency =", "max_instance_requests =", "Unsupported argument"),
    "misspelt block": ("    scaling {", "    scalling {", "Unsupported block type"),
    "wrong type": ("period_seconds    = 1\n", 'period_seconds    = "often"\n', "Inappropriate value"),
    "missing argument": ("  location             = local.region\n", "", "Missing required argument"),
    "unknown resource": (' "google_cloud_run_v2_service"', ' "google_run_service"', "Invalid resource"),
}


@pytest.mark.parametrize("mistake", [pytest.param(name, marks=pytest.mark.slow) for name in WRONG])
def test_a_mistake_is_noticed(
    project_copy: Callable[[Path], Path], google: Provider, tmp_path: Path, mistake: str
) -> None:
    before, after, said = WRONG[mistake]
    copy = terraform(project_copy(tmp_path / "orders"), google)
    file = copy.root / "services.tf"
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after, 1))
    result = copy.run("validate")
    assert result.code == 1
    assert said in result.text


def test_own_resources_live_in_a_file_of_their_own(
    project_copy: Callable[[Path], Path], google: Provider, tmp_path: Path
) -> None:
    copy = terraform(project_copy(tmp_path / "orders"), google)
    bucket = """
resource "google_storage_bucket" "reports" {
  name     = "${local.prefix}-reports"
  location = local.topology.region
}
resource "google_cloud_run_v2_service_iam_member" "cron" {
  name     = google_cloud_run_v2_service.service["api"].name
  location = local.topology.region
  role     = "roles/run.invoker"
  member   = google_service_account.service["api"].member
}
"""
    (copy.root / "extra.tf").write_text(bucket)
    copy.must("validate")


def test_nothing_newer_than_terraform_1_9_and_opentofu_1_9_is_used(rendered: Path) -> None:
    # Of both: ephemeral values and resources (1.10, 1.11), provider functions, `import for_each` (tofu), write-only.
    for file in (rendered / "infra").rglob("*.tf"):
        assert not re.search(r"\bephemeral\b|provider::|_wo\b|\bissensitive\(|templatestring\(", file.read_text()), file
