"""The real collector with the rendered configs, as the second container of the service's instance."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest
from cloudrun import CloudRun
from cloudrun.collector import find_binary
from cloudrun.errors import NotSimulated, StartFailed
from cloudrun.ports import free_port
from cloudrun.protocols import GRPC, HTTP, PROTOCOL
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.observed import said_lost
from tests.project import make
from tests.test_handlers import until
from tests.test_loss import lost
from tests.test_outage import billings
from tests.traffic import SINGLE_REQUESTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Variant
    from tests.journal import Journal

pytestmark = pytest.mark.usefixtures("collector")

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7"
ENOUGH_MIB = "512"


@pytest.fixture(scope="session")
def by_billing(variant: Variant) -> dict[str, Path]:
    return {billing: variant(billing=billing) for billing in ("request", "instance")}


@pytest.fixture
def billed(by_billing: dict[str, Path], billing: str) -> Path:
    return by_billing[billing]


def edited(project: Path, destination: Path, config: str, before: str, after: str) -> Path:
    """Copy `project` with another collector/`config`."""
    shutil.copytree(project, destination, symlinks=True)
    path = destination / "collector" / config
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))
    return destination


def states(run: CloudRun) -> list[str]:
    instance = run.instance()
    return [psutil.Process(each.pid).status() for each in (instance.processes, instance.collector.processes)]


@contextlib.contextmanager
def active(run: CloudRun) -> Iterator[None]:
    """Keep a request open: the instance has CPU."""
    with httpx.stream("GET", run.url() + "/endless", trust_env=False) as response:
        chunks = response.iter_raw()  # kept: to drop it would close the response
        next(chunks)
        yield


def export(url: str) -> httpx.Response:
    """Send one span whose resource names no project."""
    message = ExportTraceServiceRequest()
    span = message.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = bytes.fromhex(TRACE), bytes.fromhex(SPAN), "by hand"
    headers = {"content-type": "application/x-protobuf"}
    return httpx.post(f"{url}/v1/traces", content=message.SerializeToString(), headers=headers, trust_env=False)


def delivered(run: CloudRun, trace_ids: list[str], spans: int) -> bool:
    return all(len(run.trace(trace_id).own()) == spans for trace_id in trace_ids)


@billings
def test_spans_come_through_the_collector_with_their_project_and_a_token(
    start: Callable[..., CloudRun], billed: Path
) -> None:
    run = start(billed)
    trace = run.wait_for_trace(run.get("/plain").trace_id, 2)
    assert {span.resource["gcp.project_id"] for span in trace.own()} == {"offline-project"}
    api = run.system.telemetry_api
    assert api.signed_exports >= 1
    assert api.intake.exports == api.signed_exports, "spans went past the collector"
    assert not run.logs("api/collector")


@billings
def test_spans_come_over_grpc_where_it_is_asked_for(
    start: Callable[..., CloudRun], variant: Variant, journal: Journal, billing: str
) -> None:
    run = start(variant(billing=billing, env={PROTOCOL: GRPC}))
    for _ in range(SINGLE_REQUESTS):
        run.get("/plain")
        assert billing == "instance" or not lost(run, journal)
    until(lambda: run.span_ids() == journal.started(), "the delivery of all spans")
    assert run.instance().environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == run.instance().collector.urls[GRPC]
    assert run.system.telemetry_api.signed_exports
    run.terminate()
    assert not said_lost(run)


@billings
def test_the_collector_adds_the_project_where_it_is_missing(start: Callable[..., CloudRun], billed: Path) -> None:
    run = start(billed)
    with active(run):
        assert export(run.instance().collector.urls[HTTP]).status_code == 200
        (span,) = run.wait_for_trace(TRACE).own()
    assert span.resource == {"gcp.project_id": "offline-project"}
    assert not run.system.telemetry_api.intake.refused


def test_google_credentials_of_the_developers_are_not_used(
    start: Callable[..., CloudRun], shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "home" / ".config" / "gcloud" / "application_default_credentials.json"
    own.parent.mkdir(parents=True)
    own.write_text("these must not be read")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    run = start(shapes)
    assert delivered(run, [run.get("/plain").trace_id], 2)


@pytest.mark.parametrize("slow", [0, 0.05], ids=["fast back end", "slow back end"])
def test_nothing_is_lost_when_service_and_collector_lose_the_cpu_after_each_response(
    start: Callable[..., CloudRun], shapes: Path, journal: Journal, slow: float
) -> None:
    run = start(shapes)
    run.back_end(delay=slow)
    before = run.instance().freezes
    for sent in range(1, SINGLE_REQUESTS + 1):
        run.get("/plain")
        assert states(run) == [psutil.STATUS_STOPPED] * 2, f"after response {sent}"
        missing = lost(run, journal)
        assert not missing, f"request {sent}: {len(missing)} spans lost"
    assert run.instance().freezes - before == SINGLE_REQUESTS
    run.kill()
    assert sum(run.span_ids().values()) == 2 * SINGLE_REQUESTS


def test_both_have_cpu_while_a_request_is_active(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(shapes)
    assert states(run) == [psutil.STATUS_STOPPED] * 2
    with active(run):
        assert psutil.STATUS_STOPPED not in states(run)


def test_under_instance_billing_both_keep_the_cpu(
    start: Callable[..., CloudRun], by_billing: dict[str, Path], journal: Journal
) -> None:
    run = start(by_billing["instance"])
    for _ in range(SINGLE_REQUESTS):
        run.get("/plain")
    assert psutil.STATUS_STOPPED not in states(run)
    until(lambda: run.span_ids() == journal.started(), "the delivery of all spans")
    assert sum(run.span_ids().values()) == 2 * SINGLE_REQUESTS
    assert run.system.telemetry_api.intake.exports < SINGLE_REQUESTS, "nothing was batched"


@billings
def test_spans_wait_for_the_end_of_an_outage_and_no_request_sees_it(
    start: Callable[..., CloudRun], billed: Path
) -> None:
    run = start(billed)
    run.stop_back_end()
    replies = [run.get("/plain") for _ in range(5)]
    assert {reply.status for reply in replies} == {200}
    assert not run.span_ids(), "the back end was not away: nothing is proven"
    run.resume_back_end()
    with active(run):
        until(lambda: delivered(run, [reply.trace_id for reply in replies], 2), "the delivery", 30)
    assert set(run.span_ids().values()) == {1}
    assert said_lost(run) == 0


@billings
def test_spans_wait_in_the_service_while_its_collector_is_gone(start: Callable[..., CloudRun], billed: Path) -> None:
    run = start(billed)
    run.kill_collector()
    replies = [run.get("/plain") for _ in range(5)]
    assert {reply.status for reply in replies} == {200}
    assert not run.span_ids()
    run.start_collector()
    with active(run):
        until(lambda: delivered(run, [reply.trace_id for reply in replies], 2), "the delivery", 30)
    assert set(run.span_ids().values()) == {1}
    assert said_lost(run) == 0


@billings
def test_a_collector_above_its_memory_limit_refuses_spans_and_the_service_keeps_them(
    start: Callable[..., CloudRun], billed: Path
) -> None:
    run = start(billed, COLLECTOR_MEMORY_MIB="1")
    with active(run):
        until(lambda: any("Refusing data" in line for line in run.logs("api/collector")), "the limit")
        assert export(run.instance().collector.urls[HTTP]).status_code == 503, "this tells the service to try again"
        replies = [run.get("/plain") for _ in range(5)]
    assert {reply.status for reply in replies} == {200}
    assert not run.span_ids(), "nothing was refused: nothing is proven"
    run.kill_collector()
    run.start_collector(environment={"COLLECTOR_MEMORY_MIB": ENOUGH_MIB})
    with active(run):
        until(lambda: delivered(run, [reply.trace_id for reply in replies], 2), "the delivery", 30)
    assert said_lost(run) == 0


def test_sigterm_to_both_when_idle_loses_nothing(
    start: Callable[..., CloudRun], shapes: Path, journal: Journal
) -> None:
    run = start(shapes)
    run.get("/plain")
    ended = run.terminate()
    assert (ended.code, ended.collector) == (0, 0), run.logs()
    assert ended.seconds < 3, f"it took {ended.seconds:.1f} s"
    assert run.span_ids() == journal.started()
    assert sum(run.span_ids().values()) == 2


def test_sigterm_to_both_when_idle_delivers_what_the_collector_still_collects(
    start: Callable[..., CloudRun], by_billing: dict[str, Path], journal: Journal, tmp_path: Path
) -> None:
    never = edited(by_billing["instance"], tmp_path / "orders", "instance.yaml", "timeout: 1s", "timeout: 1h")
    run = start(never)
    run.get("/plain")
    time.sleep(0.5)  # idleness is what is tested: the service's spans are with the collector by now
    assert not run.span_ids(), "the collector has sent already: nothing is proven"
    ended = run.terminate()
    assert (ended.code, ended.collector) == (0, 0), run.logs()
    assert run.span_ids() == journal.started()
    assert sum(run.span_ids().values()) == 2


@billings
def test_spans_of_a_request_that_sigterm_interrupts_are_counted_where_the_collector_is_gone_first(
    start: Callable[..., CloudRun], billed: Path, journal: Journal
) -> None:
    run = start(billed)
    with ThreadPoolExecutor() as clients:
        reply = clients.submit(run.get, "/slow?seconds=1")
        until(lambda: sum(journal.started().values()) == 1, "the span's start")
        ended = run.terminate()
        assert reply.result().status == 200
    assert (ended.code, ended.collector) == (0, 0), run.logs()
    assert ended.seconds < 8, f"it took {ended.seconds:.1f} s"
    assert not run.span_ids(), "the collector outlived the request: nothing is proven"
    assert said_lost(run) == 1, run.logs()


def wrapped(binary: Path, folder: Path, script: str) -> str:
    """Return a program that is the collector in a shell script."""
    program = folder / "wrapped"
    program.write_text(f"#!/bin/sh\n{script.format(binary=binary)}\n")
    program.chmod(0o755)
    return str(program)


def test_the_service_starts_only_when_the_collector_is_healthy(
    start: Callable[..., CloudRun], shapes: Path, otelcol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = wrapped(otelcol, tmp_path, 'sleep 1\nexec "{binary}" "$@"')
    monkeypatch.setenv("COLLECTOR_BINARY", late)
    run = start(shapes, COLLECTOR_LOG_LEVEL="info")
    lines = run.system.logs
    first_of_service = next(index for index, line in enumerate(lines) if line.service == "api")
    before = [line.text for line in lines[:first_of_service] if line.service == "api/collector"]
    assert any("Everything is ready" in text for text in before), f"the service started after {before}"


@pytest.mark.slow
def test_a_collector_that_ignores_sigterm_is_killed_after_ten_seconds(
    start: Callable[..., CloudRun], shapes: Path, otelcol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = wrapped(otelcol, tmp_path, 'trap \'\' TERM\n"{binary}" "$@" &\nwait')
    monkeypatch.setenv("COLLECTOR_BINARY", deaf)
    run = start(shapes)
    ended = run.terminate()
    assert (ended.code, ended.collector) == (0, -9)
    assert 9.5 < ended.seconds < 15


def test_a_config_that_the_collector_refuses_is_reported_with_its_last_line(shapes: Path, tmp_path: Path) -> None:
    broken = edited(shapes, tmp_path / "orders", "request.yaml", "googleclientauth: {}", "googleclientauthx: {}")
    with pytest.raises(StartFailed, match=r"^api/collector ended with 1: .*googleclientauthx"), CloudRun(broken):
        pass


def test_which_collector_runs_is_said(own: Path, otelcol: Path) -> None:
    result = make(own, "dev", "ONCE=1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"the collector is {otelcol}" in result.stdout
    assert "stands in" not in result.stdout


def test_a_collector_on_the_path_is_found_and_none_is_none(
    otelcol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("COLLECTOR_BINARY")
    assert find_binary() is None
    (tmp_path / "otelcol").symlink_to(otelcol)
    assert find_binary() == otelcol
    google = shutil.copy(otelcol, tmp_path / "otelcol-google")
    assert find_binary() == Path(google)
    monkeypatch.setenv("COLLECTOR_BINARY", "")
    assert find_binary() is None


def test_a_named_collector_that_is_none_is_refused(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTOR_BINARY", "/nowhere")
    with pytest.raises(StartFailed, match=r"^COLLECTOR_BINARY=/nowhere: is no program"):
        CloudRun(shapes)


def test_without_a_collector_its_absence_is_said(
    start: Callable[..., CloudRun], shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLECTOR_BINARY", "")
    run = start(shapes)
    assert delivered(run, [run.get("/plain").trace_id], 2)
    with pytest.raises(NotSimulated, match="api has no collector: set COLLECTOR_BINARY"):
        run.kill_collector()


def test_the_local_config_sends_to_an_end_point_without_a_token_and_shows_what_comes(
    start: Callable[..., CloudRun], shapes: Path, otelcol: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLECTOR_BINARY", "")
    run = start(shapes)
    http, grpc, health = (f"127.0.0.1:{free_port()}" for _ in range(3))
    environment = {
        "PATH": os.defpath,
        "EXPORT_ENDPOINT": run.system.telemetry_api.url(),
        "OTLP_HTTP_ENDPOINT": http,
        "OTLP_GRPC_ENDPOINT": grpc,
        "HEALTH_CHECK_ENDPOINT": health,
    }
    with subprocess.Popen(
        [otelcol, "--config", shapes / "collector" / "local.yaml"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as local:
        try:
            until(lambda: answers(f"http://{health}/"), "the start")
            assert export(f"http://{http}").status_code == 200
            intake = run.system.telemetry_api.intake
            until(
                lambda: len(intake.refused) == 1,
                "the arrival of the span, which has no project",
            )
        finally:
            local.terminate()
        output, _ = local.communicate()
    assert local.returncode == 0
    assert '"spans": 1' in output


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.HTTPError:
        return False
