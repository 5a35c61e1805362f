"""`make verify-gcp`: its probe in the offline Cloud Run finds nothing that differs, and its judge is no yes-man."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cloudrun import rules
from cloudrun.identity import INVOKER
from verify_gcp.__main__ import manifest
from verify_gcp.judge import (
    GRACE,
    REQUESTS,
    SPAN_ID,
    TRACE_ID,
    Answer,
    credentials,
    judge_access,
    judge_cpu,
    judge_end,
    judge_environment,
    judge_headers,
)

from tests.project import NOT_COPIED, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloudrun import CloudRun

PROBE = REPOSITORY / "template" / "e2e" / "verify_gcp" / "probe.py"
SHORT = 2.0


@pytest.fixture
def probe(project: Path, tmp_path: Path) -> Path:
    """The default project, the probe in place of its service."""
    copy = tmp_path / "orders"
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns(*NOT_COPIED))
    (copy / "services" / "api" / ".venv").symlink_to(project / "services" / "api" / ".venv")
    shutil.copy(PROBE, copy / "services" / "api" / "app" / "__main__.py")
    return copy


def ask(run: CloudRun, headers: dict[str, str]) -> dict[str, Any]:
    answer = httpx.get(run.url("api"), headers=headers, trust_env=False)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.slow
def test_the_offline_cloud_run_agrees_with_itself(probe: Path, start: Callable[..., CloudRun]) -> None:
    run = start(probe)
    seen = {request.name: dict(ask(run, dict(request.headers))["headers"]) for request in REQUESTS}
    before = ask(run, {})
    time.sleep(SHORT)  # the claim is about time without a request
    after = ask(run, {})
    began = before["ticks"][-1]
    findings = [
        *judge_headers(seen),
        *judge_environment(after["environment"], None),
        judge_cpu(after["ticks"], began, began + SHORT),
    ]
    assert [finding for finding in findings if not finding.agrees] == []
    assert len({finding.rule for finding in findings}) >= 6


@pytest.mark.slow
def test_the_offline_cloud_run_lets_in_whom_it_should(probe: Path, start: Callable[..., CloudRun]) -> None:
    topology = probe / "topology.yaml"
    topology.write_text(topology.read_text().replace("access: public", "access: private"))
    run = start(probe)

    def answer_to(headers: dict[str, str]) -> Answer:
        answer = httpx.get(run.url("api"), headers=headers, trust_env=False)
        return Answer(answer.status_code, dict(answer.json()["headers"]) if answer.is_success else {})

    token = run.id_token(INVOKER, run.url("api"))
    findings = list(judge_access({name: answer_to(headers) for name, headers in credentials(token).items()}))
    assert [finding for finding in findings if not finding.agrees] == []
    assert len(findings) == 4


@pytest.mark.parametrize("status", [200, 403])
def test_a_door_that_differs_is_noticed(status: int) -> None:
    shown = "a.b.c"
    answers = {name: Answer(status, headers) for name, headers in credentials(shown).items()}
    answers["a token beside"] = Answer(status, {"authorization": f"Bearer {shown}"})
    findings = list(judge_access(answers))
    assert not any(finding.agrees for finding in findings)
    assert not any(shown in finding.found for finding in findings), "what is printed may be passed on"


def test_headers_that_differ_are_noticed() -> None:
    parent = f"00-{TRACE_ID}-{SPAN_ID}-00"
    seen = {request.name: {"traceparent": parent} for request in REQUESTS}
    differs = {finding.rule for finding in judge_headers(seen) if not finding.agrees}
    assert differs == {
        rules.PARENT_REPLACED,
        rules.OTHER_HEADERS_PASS,
        rules.PLATFORM_SAMPLING,
        rules.CLOUD_TRACE_HEADER,
    }
    nothing: dict[str, dict[str, str]] = {request.name: {} for request in REQUESTS}
    assert not any(finding.agrees for finding in judge_headers(nothing))


def test_a_cpu_that_stays_is_noticed() -> None:
    always = [tick / 20 for tick in range(400)]
    assert not judge_cpu(always, 1, 16).agrees
    assert judge_cpu([tick for tick in always if not 2 < tick < 15], 1, 16).agrees


def test_a_port_of_the_sidecar_is_noticed() -> None:
    named = dict.fromkeys(("K_SERVICE", "K_REVISION", "K_CONFIGURATION"), "x")
    good = list(judge_environment({**named, "PORT": "8080"}, named))
    assert all(finding.agrees for finding in good)
    bad = list(judge_environment(named, {**named, "PORT": "8080"}))
    assert not any(finding.agrees for finding in bad)


def lines(ended: dict[str, tuple[float, float]]) -> list[dict[str, Any]]:
    found = [{"probe": name, "event": "SIGTERM", "at": began} for name, (began, _) in ended.items()]
    return found + [{"probe": name, "event": "alive", "at": last} for name, (_, last) in ended.items()]


@pytest.mark.parametrize(
    ("ended", "agrees"),
    [
        ({"app": (100, 100 + GRACE), "sidecar": (100.1, 100.1 + GRACE)}, True),
        ({"app": (100, 100 + GRACE), "sidecar": (103, 103 + GRACE)}, False),
        ({"app": (100, 102), "sidecar": (100, 100 + GRACE)}, False),
    ],
)
def test_the_order_of_the_end_is_judged(ended: dict[str, tuple[float, float]], agrees: bool) -> None:
    assert all(finding.agrees for finding in judge_end(lines(ended))) == agrees


def test_no_lines_prove_nothing() -> None:
    assert not all(finding.agrees for finding in judge_end([]))


def test_the_probe_is_deployed_with_request_billing_and_a_sidecar_that_is_waited_for() -> None:
    template = manifest()["spec"]["template"]
    annotations = template["metadata"]["annotations"]
    assert annotations["run.googleapis.com/cpu-throttling"] == "true"
    assert annotations["run.googleapis.com/container-dependencies"] == '{"app":["sidecar"]}'
    app, sidecar = template["spec"]["containers"]
    assert (app["name"], sidecar["name"], "ports" in sidecar) == ("app", "sidecar", False)
    compile(app["command"][2], "probe", "exec")


@pytest.mark.parametrize("arguments", [["--project=", "--region="], ["--project=p", "--region=r"]])
def test_without_a_project_or_gcloud_it_says_what_is_missing(arguments: list[str]) -> None:
    environment = {**os.environ, "PATH": "/nonexistent", "PYTHONPATH": str(REPOSITORY / "template" / "e2e")}
    command = [sys.executable, "-m", "verify_gcp", *arguments]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert "gcloud is missing" in ended.stderr or "make verify-gcp PROJECT=" in ended.stderr


def test_it_says_that_nobody_has_run_it() -> None:
    import verify_gcp  # noqa: PLC0415 (of the package itself)

    assert "have not run it on Google" in (verify_gcp.__doc__ or "").replace("\n", " ")
    assert dataclasses.is_dataclass(REQUESTS[0])
