"""CPU and life cycle, seen from the kernel's side."""

from __future__ import annotations

import tempfile
import time
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest
from cloudrun import CloudRun, CloudRunError
from cloudrun.errors import StartFailed
from cloudrun.system import System

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def state(run: CloudRun) -> str:
    return psutil.Process(run.instance().processes.pid).status()


@pytest.mark.parametrize(
    "path", ["/plain", "/sync", "/length", "/chunked", "/streamed", "/empty", "/redirect", "/crash"]
)
def test_whoever_has_the_whole_response_finds_the_instance_stopped(
    start: Callable[..., CloudRun], shapes: Path, path: str
) -> None:
    run = start(shapes)
    for sent in range(1, 31):
        run.get(path)
        assert state(run) == psutil.STATUS_STOPPED, f"after response {sent}"
    assert run.instance().freezes == 31


def test_in_the_middle_of_a_response_it_runs(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(shapes)
    with httpx.stream("GET", run.url() + "/endless", trust_env=False) as response:
        chunks = response.iter_raw()
        for _ in range(5):
            next(chunks)
            assert state(run) != psutil.STATUS_STOPPED


def test_it_has_no_cpu_between_start_up_and_the_first_request(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(shapes)
    assert state(run) == psutil.STATUS_STOPPED


def test_a_frozen_instance_burns_no_cpu(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(shapes)
    run.get("/plain")
    process = psutil.Process(run.instance().processes.pid)
    before = process.cpu_times()
    time.sleep(0.3)  # the passing of time is what is tested
    assert process.cpu_times() == before


def test_shutdown_has_cpu_and_the_exit_code_is_the_services(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(shapes)
    run.get("/plain")
    assert run.terminate().code == 0


@pytest.mark.slow
def test_who_ignores_sigterm_is_killed_after_ten_seconds(start: Callable[..., CloudRun], deaf: Path) -> None:
    run = start(deaf)
    ended = run.terminate()
    assert ended.code == -9
    assert 9.5 < ended.seconds < 15


def test_a_kill_comes_without_warning(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(shapes)
    lines = len(run.logs())
    run.kill()
    assert run.instance().processes.exit_code == -9
    assert len(run.logs()) == lines


def test_without_an_instance_the_answer_is_503(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(shapes)
    run.kill()
    assert run.get("/plain").status == 503
    run.start_instance()
    assert run.get("/plain").status == 200


def test_a_service_that_ends_at_start_is_reported_with_its_last_line(broken: Path) -> None:
    with pytest.raises(StartFailed, match=r"^api ended with 3: no database$"), CloudRun(broken):
        pass


@pytest.mark.parametrize(("binary", "slow"), [("/nowhere", "api"), ("", "nobody")], ids=["collector", "slow"])
def test_what_is_refused_before_it_starts_leaves_no_files(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, binary: str, slow: str
) -> None:
    monkeypatch.setenv("COLLECTOR_BINARY", binary)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    # Whoever holds the error holds the system: nothing is tidied up as garbage meanwhile.
    with pytest.raises(CloudRunError) as refused:
        System(project, slow={slow: 1})
    assert not list(tmp_path.iterdir()), f"left behind by: {refused.value}"


def test_an_unknown_service_is_named_with_those_that_are(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(shapes)
    with pytest.raises(CloudRunError, match="there is no service web; there are api"):
        run.get("/", service="web")


def test_the_container_sees_the_contract_and_nothing_of_the_machine(
    start: Callable[..., CloudRun], shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_MACHINE", "1")
    run = start(shapes)
    environment = run.instance().environment
    assert environment["K_SERVICE"] == "orders-api"
    assert environment["OTEL_SERVICE_NAME"] == "api"
    assert environment["TRACERUN_TRUST_CALLERS"] == "false"
    assert "gcp.project_id=offline-project" in environment["OTEL_RESOURCE_ATTRIBUTES"]
    assert "SECRET_OF_THE_MACHINE" not in environment
    seen = psutil.Process(run.instance().processes.pid).environ()
    assert set(seen) <= set(environment) | {"LC_CTYPE"}
