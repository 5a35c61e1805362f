"""Copying: no trust, no network, nothing but what was asked for, and every mistake is one last line."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml
from cloudrun import expect, topology
from cloudrun.topology import Service

from tests.pairwise import pairwise
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
    assert_reads_as_written_by_hand(tmp_path / "p")


def assert_reads_as_written_by_hand(project: Path) -> None:
    for path in files(project):
        text = (project / path).read_text(encoding="utf-8")
        assert not path.endswith(".jinja")
        assert "{%" not in path + text, path
        # With the space that all expressions have here: `{{name}}` stands for braces in a Python f-string.
        assert "{{ " not in path + text.replace("${{", ""), path
        assert text.endswith("\n") or not text, path
    for path in ("README.md", "topology.yaml", "e2e/expect.yaml"):
        text = (project / path).read_text(encoding="utf-8")
        assert not re.search(r"[ \t]$|\n\n\n|\n\n\Z", text, re.MULTILINE), f"{path} has needless white space"


# What each answer may be, by the name of the question; `export` stands for three questions.
ANSWERS = {
    "topology": ("chain", "single"),
    "access": ("public", "private"),
    "export": ("sidecar", "direct", "other"),
    "billing": ("request", "instance"),
    "keep_errors": ("true", "false"),
    "ci": ("github", "none"),
}
EXPORT = {
    "sidecar": ("exporter=sidecar",),
    "direct": ("exporter=direct",),
    "other": ("exporter=direct", "otlp_backend=other", "otlp_endpoint=https://otlp.example"),
}


def options(case: dict[str, str]) -> list[str]:
    """Return the options of `copier copy` for the answers `case`."""
    answers = [*EXPORT[case["export"]], *(f"{name}={value}" for name, value in case.items() if name != "export")]
    return [option for answer in answers for option in ("-d", answer)]


FASTAPI = "python-fastapi"
SERVICES = {
    "single": lambda access: [Service("api", FASTAPI, access)],
    "chain": lambda access: [
        Service("api", FASTAPI, access, calls=("pricing",)),
        Service("pricing", FASTAPI, "private", "internal", calls=("inventory",)),
        Service("inventory", FASTAPI, "private", "internal"),
    ],
}


def edges(readme: str) -> set[tuple[str, str, bool]]:
    """Return the solid edges of the diagram: from, to, and whether it says that an ID token is needed."""
    found = re.findall(r"^ +(\w+) --( ID token --)?> (\w+)$", readme, re.MULTILINE)
    return {(source, target, bool(label)) for source, label, target in found}


def test_every_two_answers_meet_in_a_case() -> None:
    cases = pairwise(ANSWERS)
    for one, other in (("topology", "access"), ("topology", "export"), ("access", "ci"), ("export", "billing")):
        met = {(case[one], case[other]) for case in cases}
        assert len(met) == len(ANSWERS[one]) * len(ANSWERS[other])


CASES = [
    pytest.param(case, id="-".join(case.values()), marks=[pytest.mark.slow] if index > 1 else [])
    for index, case in enumerate(pairwise(ANSWERS))
]


@pytest.mark.parametrize("case", CASES)
def test_every_project_is_what_was_asked_for(tmp_path: Path, case: dict[str, str]) -> None:
    project = tmp_path / "orders"
    result = render(project, *options(case))
    assert (result.returncode, result.stderr) == (0, "")
    assert_reads_as_written_by_hand(project)

    services = SERVICES[case["topology"]](case["access"])
    checked = topology.load(project)
    assert list(checked.services.values()) == services
    assert checked.exporter == ("sidecar" if case["export"] == "sidecar" else "direct")
    assert checked.backend == ("https://otlp.example" if case["export"] == "other" else "google")
    assert (checked.billing, checked.sampling.keep_errors) == (case["billing"], case["keep_errors"] == "true")

    assert {folder.name for folder in (project / "services").iterdir()} == {service.name for service in services}
    assert (project / "collector").exists() == (case["export"] == "sidecar")
    assert (project / ".github").exists() == (case["ci"] == "github")
    calls = {(service.name, callee, True) for service in services for callee in service.calls}
    item = expect.load(project, checked.services)[0]
    assert [span.service for span in item.spans if span.label.startswith("SERVER ")] == [
        service.name for service in services
    ]
    assert edges((project / "README.md").read_text()) == {("caller", "api", case["access"] == "private"), *calls}


@pytest.mark.slow
@pytest.mark.parametrize(("answers", "seconds"), [((), 1.5), (("-d", "topology=chain"), 3)], ids=["default", "largest"])
def test_rendering_is_quick(tmp_path: Path, answers: tuple[str, ...], seconds: float) -> None:
    # Time on a CPU, the best of three, and twice the promise: a machine may be busy.
    spent = []
    for attempt in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert render(tmp_path / str(attempt), *answers).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 2 * seconds


def test_without_ci_there_is_no_workflow(tmp_path: Path) -> None:
    assert render(tmp_path / "p", "-d", "ci=none").returncode == 0
    assert not (tmp_path / "p" / ".github").exists()


def test_answers_reach_the_topology(tmp_path: Path) -> None:
    answers = ["-d", "project_name=shop-2", "-d", "sampling_ratio=0.25", "-d", "region=us-central1"]
    assert render(tmp_path / "p", *answers).returncode == 0
    topology = yaml.safe_load((tmp_path / "p" / "topology.yaml").read_text())
    assert (topology["project"], topology["sampling"]["ratio"], topology["region"]) == ("shop-2", 0.25, "us-central1")
    assert "# shop-2" in (tmp_path / "p" / "README.md").read_text()


@pytest.mark.slow
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
        ("topology=mesh", "'mesh' is not in ['single', 'chain']"),
        ("access=internal", "'internal' is not in ['public', 'private']"),
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
