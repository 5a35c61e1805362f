"""`make verify-gcp`: its probe in the offline Cloud Run finds nothing that differs, and its judge is no yes-man."""

from __future__ import annotations

import dataclasses
import json
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
from cloudrun.ports import free_port
from rich.console import Console
from verify_gcp import __main__ as command
from verify_gcp.__main__ import manifest
from verify_gcp.judge import (
    GRACE,
    REQUESTS,
    SPAN_ID,
    TRACE_ID,
    Answer,
    Finding,
    credentials,
    judge_access,
    judge_cpu,
    judge_end,
    judge_environment,
    judge_headers,
)

from tests.project import NOT_COPIED, REPOSITORY
from tests.test_handlers import until

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


def lines(ended: dict[str, tuple[float, float]], run: str = "now") -> list[dict[str, Any]]:
    found = [{"probe": name, "run": run, "event": "SIGTERM", "at": began} for name, (began, _) in ended.items()]
    return found + [{"probe": name, "run": run, "event": "alive", "at": last} for name, (_, last) in ended.items()]


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


GCLOUD = """#!{python}
import json, pathlib, re, sys

if sys.argv[1] == "logging":
    reads = pathlib.Path(__file__).with_name("reads")
    reads.write_text(reads.read_text() + "." if reads.exists() else ".")
    (run,) = re.findall('jsonPayload.run="(.*?)"', sys.argv[3]) or [None]
    arrived = [line for read in json.loads({arriving!r})[:len(reads.read_text())] for line in read]
    print(json.dumps([{{"jsonPayload": line}} for line in arrived if run in (None, line["run"])]))
"""
"""Stands in for gcloud: a log whose lines arrive one read after the other."""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a gcloud on PATH in whose log the lines of each argument arrive with another read."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(command, "READ_EVERY", 0.0)

    def log(*arriving: list[dict[str, Any]]) -> None:
        program = tmp_path / "gcloud"
        program.write_text(GCLOUD.format(python=sys.executable, arriving=json.dumps(arriving)))
        program.chmod(0o755)

    return log


BOTH = {"app": (100.0, 100 + GRACE), "sidecar": (100.1, 100.1 + GRACE)}


def ended() -> list[Finding]:
    return command.ending(Console(quiet=True), "p", ["--project=p"], "now")


def test_lines_of_the_end_that_arrive_late_are_read(log: Callable[..., None], tmp_path: Path) -> None:
    *first, app, sidecar = lines(BOTH)
    log(first, [app], [sidecar])
    assert all(finding.agrees for finding in ended())
    assert len((tmp_path / "reads").read_text()) == 4, "the first read that brings nothing new is the last"


def test_lines_of_another_run_are_not_judged(log: Callable[..., None]) -> None:
    log(lines({"app": (40, 42), "sidecar": (40, 42)}, run="before"), [], lines(BOTH))
    assert all(finding.agrees for finding in ended())


def test_a_container_of_which_no_line_arrives_proves_nothing(
    log: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "LOGS_WITHIN", 0.5)
    log(lines({"app": BOTH["app"]}))
    assert [finding.found for finding in ended() if not finding.agrees] == ["SIGTERM came to ['app'], 0.00 s apart"]


def test_the_probe_names_its_run_in_every_line() -> None:
    port = free_port()
    container, _ = manifest("now")["spec"]["template"]["spec"]["containers"]
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    code = [sys.executable, *container["command"][1:]]
    environment = {**variables, "PORT": str(port)}
    with subprocess.Popen(code, env=environment, stdout=subprocess.PIPE, text=True) as probe:
        assert probe.stdout is not None
        try:
            until(lambda: answers(port), "the start of the probe")
            probe.terminate()
            said = [json.loads(probe.stdout.readline()) for _ in range(2)]
        finally:
            probe.kill()
    assert [(line["event"], line["run"], line["probe"]) for line in said] == [
        ("SIGTERM", "now", "app"),
        ("alive", "now", "app"),
    ]


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).is_success
    except httpx.TransportError:
        return False


def test_no_lines_prove_nothing() -> None:
    assert not all(finding.agrees for finding in judge_end([]))


def test_the_probe_is_deployed_with_request_billing_and_a_sidecar_that_is_waited_for() -> None:
    template = manifest("now")["spec"]["template"]
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
