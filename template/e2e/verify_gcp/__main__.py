"""The command line: `python -m verify_gcp --project ID --region NAME`."""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import httpx
from rich.console import Console
from rich.table import Table

from verify_gcp import __doc__ as about
from verify_gcp import probe
from verify_gcp.judge import (
    CONTAINERS,
    IDLE,
    REQUESTS,
    Answer,
    Finding,
    credentials,
    judge_access,
    judge_cpu,
    judge_end,
    judge_environment,
    judge_headers,
)

SERVICE: Final = "tracerun-verify"
IMAGE: Final = "docker.io/library/python:3.13-slim"
LOGS_WITHIN: Final = 180.0
"""Seconds until the lines of an ended container can be read."""
READ_EVERY: Final = 10.0
"""Seconds between two reads of the log, whose lines arrive late and in no order."""
SIDECAR_PORT: Final = 9000


class GcloudFailed(Exception):  # noqa: N818 (named after the event)
    """A command of gcloud failed; the text ends with what it said."""


def gcloud(*arguments: str) -> str:
    """Run gcloud. Raises `GcloudFailed`."""
    try:
        ended = subprocess.run(["gcloud", *arguments, "--quiet"], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise GcloudFailed("gcloud is missing: install the Google Cloud CLI, then `gcloud auth login`") from error
    if ended.returncode:
        said = ended.stderr.strip().splitlines() or ["it said nothing"]
        raise GcloudFailed(f"gcloud {' '.join(arguments[:3])}: {said[-1]}")
    return ended.stdout.strip()


def manifest(run: str) -> dict[str, Any]:
    """Return the service to deploy: the probe and its sidecar, request-based billing, one instance.

    `run` stands in every line that they log: other revisions of the service write to the same log.
    """
    code = Path(probe.__file__).read_text(encoding="utf-8")

    def container(name: str, variables: dict[str, str], port: int) -> dict[str, Any]:
        environment = {"PROBE_CONTAINER": name, "PROBE_RUN": run, "PYTHONUNBUFFERED": "1", **variables}
        return {
            "name": name,
            "image": IMAGE,
            "command": ["python", "-c", code],
            "env": [{"name": key, "value": value} for key, value in environment.items()],
            "resources": {"limits": {"cpu": "1", "memory": "256Mi"}},
            "startupProbe": {
                "httpGet": {"path": "/health", "port": port},
                "periodSeconds": 1,
                "timeoutSeconds": 1,
                "failureThreshold": 60,
            },
        }

    app = container("app", {"PROBE_SIDECAR": f"http://localhost:{SIDECAR_PORT}/"}, 8080)
    app["ports"] = [{"name": "http1", "containerPort": 8080}]
    sidecar = container("sidecar", {"PROBE_PORT": str(SIDECAR_PORT)}, SIDECAR_PORT)
    annotations = {
        "autoscaling.knative.dev/maxScale": "1",
        "run.googleapis.com/container-dependencies": '{"app":["sidecar"]}',
        "run.googleapis.com/cpu-throttling": "true",
    }
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": SERVICE},
        "spec": {"template": {"metadata": {"annotations": annotations}, "spec": {"containers": [app, sidecar]}}},
    }


def observe(console: Console, place: list[str], run: str) -> list[Finding]:
    """Deploy, ask, wait, and judge what came back; the service stays."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "service.json"
        file.write_text(json.dumps(manifest(run)), encoding="utf-8")
        console.print(f"deploying {SERVICE}")
        gcloud("run", "services", "replace", str(file), *place)
    url = gcloud("run", "services", "describe", SERVICE, *place, "--format=value(status.url)")
    token = gcloud("auth", "print-identity-token")
    with httpx.Client(base_url=url, timeout=60) as client:

        def answer_to(headers: dict[str, str]) -> Answer:
            answer = client.get("/", headers=headers)
            return Answer(answer.status_code, dict(answer.json()["headers"]) if answer.is_success else {})

        def ask(headers: dict[str, str]) -> dict[str, Any]:
            answer = client.get("/", headers={"authorization": f"Bearer {token}", **headers})
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()
            return found

        console.print(f"sending {len(REQUESTS)} requests to {url}")
        seen = {request.name: dict(ask(dict(request.headers))["headers"]) for request in REQUESTS}
        answers = {name: answer_to(headers) for name, headers in credentials(token).items()}
        before = ask({})
        console.print(f"leaving it idle for {IDLE:.0f} s")
        time.sleep(IDLE)
        after = ask({})
    start = before["ticks"][-1]
    end = start + IDLE
    return [
        *judge_headers(seen),
        *judge_access(answers),
        *judge_environment(after["environment"], after["sidecar"]["environment"]),
        judge_cpu(after["ticks"], start, end),
        judge_cpu(after["sidecar"]["ticks"], start, end, sidecar=True),
    ]


def ending(console: Console, project: str, place: list[str], run: str) -> list[Finding]:
    """Delete the service and judge how its containers ended."""
    console.print(f"deleting {SERVICE}, and reading how its containers ended (up to {LOGS_WITHIN:.0f} s)")
    gcloud("run", "services", "delete", SERVICE, *place)
    query = f'resource.type="cloud_run_revision" jsonPayload.run="{run}" jsonPayload.event:*'
    end = time.monotonic() + LOGS_WITHIN
    lines: list[dict[str, Any]] = []
    while time.monotonic() < end:
        time.sleep(READ_EVERY)
        read = gcloud("logging", "read", query, f"--project={project}", "--freshness=1h", "--format=json")
        before, lines = lines, sorted((entry["jsonPayload"] for entry in json.loads(read or "[]")), key=_at)
        if lines == before and {line["probe"] for line in lines} == CONTAINERS:
            break
    return list(judge_end(lines))


def _at(line: dict[str, Any]) -> float:
    return float(line["at"])


def main() -> int:
    """Run everything, print a table; 1 where Cloud Run differs from the offline one."""
    parser = argparse.ArgumentParser(prog="verify_gcp", description=about.partition("\n")[0])
    parser.add_argument("--project", required=True, help="id of a Google Cloud project in which you may deploy")
    parser.add_argument("--region", required=True, help="region of Cloud Run, such as europe-west1")
    arguments = parser.parse_args()
    if not arguments.project or not arguments.region:
        sys.stderr.write("say where: make verify-gcp PROJECT=my-project REGION=europe-west1\n")
        return 2
    console = Console(highlight=False)
    console.print(about)
    place = [f"--project={arguments.project}", f"--region={arguments.region}"]
    run = secrets.token_hex(8)
    try:
        findings = [*observe(console, place, run), *ending(console, arguments.project, place, run)]
    except (GcloudFailed, httpx.HTTPError) as error:
        sys.stderr.write(f"{error}\nIf {SERVICE} is there now, delete it: gcloud run services delete {SERVICE}\n")
        return 2
    table = Table("", "rule of the offline Cloud Run", "on Cloud Run", box=None, pad_edge=False)
    for finding in findings:
        table.add_row("same" if finding.agrees else "DIFFERS", finding.rule.claim, finding.found)
    console.print(table)
    return 0 if all(finding.agrees for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
