"""Copying: no trust, no network, nothing but what was asked for, and every mistake is one last line."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.project import REPOSITORY, render

if TYPE_CHECKING:
    from pathlib import Path


def files(folder: Path) -> set[str]:
    skipped = {".venv", ".git", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not skipped & set(path.relative_to(folder).parts)
    }


def test_copying_asks_for_no_trust() -> None:
    config = yaml.safe_load((REPOSITORY / "copier.yml").read_text())
    assert not {"_tasks", "_jinja_extensions", "_migrations"} & set(config)


def test_the_default_project_has_what_was_asked_for_and_no_leftover(tmp_path: Path) -> None:
    assert render(tmp_path / "p").returncode == 0
    found = files(tmp_path / "p")
    for expected in (
        ".copier-answers.yml",
        ".github/workflows/ci.yml",
        ".gitignore",
        "Makefile",
        "README.md",
        "collector/instance.yaml",
        "collector/local.yaml",
        "collector/request.yaml",
        "e2e/cloudrun/front_end.py",
        "e2e/expect.yaml",
        "e2e/vectors/sampling.yaml",
        ".dockerignore",
        ".github/workflows/deploy.yml",
        "infra/backend.hcl",
        "infra/compliance/identity.feature",
        "infra/modules/topology/outputs.tf",
        "infra/services.tf",
        "infra/terraform.tfvars",
        "infra/tests/rules.tftest.hcl",
        "libs/python/src/tracerun/flush.py",
        "local.mk",
        "services/api/Dockerfile",
        "services/api/app/main.py",
        "services/api/requirements.txt",
        "topology.schema.json",
        "topology.yaml",
    ):
        assert expected in found
    for path in found:
        text = (tmp_path / "p" / path).read_text(encoding="utf-8")
        assert not path.endswith(".jinja")
        assert "{%" not in path + text, path
        assert "{{" not in path + text.replace("${{", ""), path
        assert text.endswith("\n") or not text, path


def test_without_ci_there_is_no_workflow(tmp_path: Path) -> None:
    assert render(tmp_path / "p", "-d", "ci=none").returncode == 0
    assert not (tmp_path / "p" / ".github").exists()


def test_answers_reach_the_topology(tmp_path: Path) -> None:
    answers = ["-d", "project_name=shop-2", "-d", "sampling_ratio=0.25", "-d", "region=us-central1"]
    assert render(tmp_path / "p", *answers).returncode == 0
    topology = yaml.safe_load((tmp_path / "p" / "topology.yaml").read_text())
    assert (topology["project"], topology["sampling"]["ratio"], topology["region"]) == ("shop-2", 0.25, "us-central1")
    assert "# shop-2" in (tmp_path / "p" / "README.md").read_text()


def test_the_google_cloud_project_reaches_terraform(tmp_path: Path) -> None:
    assert render(tmp_path / "p", "-d", "gcp_project=shop-prod").returncode == 0
    infra = tmp_path / "p" / "infra"
    assert 'project_id = "shop-prod"\n' in (infra / "terraform.tfvars").read_text()
    assert 'bucket = "shop-prod-terraform"\n' in (infra / "backend.hcl").read_text()


NAME = "project_name must be 1 to 15 lower-case letters, digits and dashes, a letter first, no dash last; got "


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("sampling_ratio=7", 'sampling_ratio must be a number from 0 to 1, such as 0.1; got "7"'),
        ("sampling_ratio=-0.1", 'got "-0.1"'),
        ("sampling_ratio=a tenth", 'got "a tenth"'),
        ("sampling_ratio=nan", 'got "nan"'),
        ("project_name=My_Service!", NAME + '"My_Service!"'),
        ("project_name=a-very-long-name", NAME + '"a-very-long-name"'),
        ("project_name=-a", NAME + '"-a"'),
        ("project_name=", NAME + '""'),
        ("project_name=con", 'project_name must not be a device name of Windows; got "con"'),
        ("project_name=lpt1", 'got "lpt1"'),
        ("framework=django", "'django' is not in ['python-fastapi']"),
        ("topology=mesh", "'mesh' is not in ['single']"),
        ("region=Europe", 'region must be a region of Google Cloud, such as europe-west1; got "Europe"'),
        ("exporter=batch", "'batch' is not in ['sidecar', 'direct']"),
        ("gcp_project=Orders", "gcp_project must be the id of a Google Cloud project"),
        ("gcp_project=123456789", 'got "123456789"'),
        ("ci=gitlab", "'gitlab' is not in ['github', 'none']"),
        ("services=[]", "computed, it cannot be set"),
    ],
)
def test_a_bad_answer_says_what_is_allowed_and_writes_nothing(tmp_path: Path, answer: str, reason: str) -> None:
    result = render(tmp_path / "p", "-d", answer)
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert reason in last
    assert answer.partition("=")[0] in last
    assert not (tmp_path / "p").exists()


OTHER = ("-d", "exporter=direct", "-d", "otlp_backend=other")


@pytest.mark.parametrize("url", ["", "otlp.example.com", "ftp://a", "https://", "https://a b", 'https://a/"#'])
def test_an_end_point_that_is_no_url_is_refused(tmp_path: Path, url: str) -> None:
    result = render(tmp_path / "p", *OTHER, "-d", f"otlp_endpoint={url}")
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert "otlp_endpoint must be the http(s) URL of an OTLP end point, such as https://otlp.example.com; got" in last
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    "url",
    [
        "https://otlp.example.com",
        pytest.param("http://[::1]:4318/otlp", marks=pytest.mark.slow),
        pytest.param("https://a.b/c?d=e", marks=pytest.mark.slow),
    ],
)
def test_another_back_end_reaches_the_topology(tmp_path: Path, url: str) -> None:
    assert render(tmp_path / "p", *OTHER, "-d", f"otlp_endpoint={url}").returncode == 0
    topology = yaml.safe_load((tmp_path / "p" / "topology.yaml").read_text())
    assert (topology["exporter"], topology["backend"]) == ("direct", url)


def test_without_a_collector_there_are_no_configs_for_it(tmp_path: Path) -> None:
    assert render(tmp_path / "p", "-d", "exporter=direct").returncode == 0
    topology = yaml.safe_load((tmp_path / "p" / "topology.yaml").read_text())
    assert (topology["exporter"], topology["backend"]) == ("direct", "google")
    assert not (tmp_path / "p" / "collector").exists()


def test_copying_fetches_nothing(tmp_path: Path) -> None:
    # Whatever would be fetched goes through a proxy that does not exist.
    command = [sys.executable, "-W", "ignore", "-m", "copier", "copy", "-q", "--defaults"]
    reference = ["--vcs-ref", "HEAD"] if (REPOSITORY / ".git").exists() else []
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    result = subprocess.run(
        [*command, *reference, REPOSITORY, tmp_path / "p"],
        env={**os.environ, **proxies},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
