"""SIGTERM: finish requests, deliver spans, exit 0, and never longer than the platform gives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.test_handlers import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloudrun import CloudRun

    from tests.journal import Journal


def test_an_idle_instance_is_gone_within_a_second(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(shapes)
    run.get("/plain")
    ended = run.terminate()
    assert ended.code == 0, run.logs()
    assert ended.seconds < 3, f"it took {ended.seconds:.1f} s (promised: 1 s; the bound is generous)"


def test_a_running_request_is_finished_and_its_spans_delivered(
    start: Callable[..., CloudRun], shapes: Path, journal: Journal
) -> None:
    run = start(shapes)
    with ThreadPoolExecutor() as clients:
        reply = clients.submit(run.get, "/slow?seconds=1")
        until(lambda: run.instance().active == 1, "the request's start")
        until(lambda: sum(journal.started().values()) == 1, "the span's start")
        ended = run.terminate()
        assert reply.result().status == 200
    assert ended.code == 0, run.logs()
    assert run.span_ids() == journal.started()


def test_a_dead_back_end_delays_the_end_by_no_more_than_its_limit_and_the_loss_is_said(
    start: Callable[..., CloudRun], shapes: Path
) -> None:
    run = start(shapes)
    run.stop_back_end()
    run.get("/plain")
    ended = run.terminate()
    assert ended.code == 0, run.logs()
    assert ended.seconds < 6, f"it took {ended.seconds:.1f} s (promised: 4 s; the bound is generous)"
    assert any("2 spans were lost" in line for line in run.logs()), run.logs()


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/slow?seconds=60", "/cleanup"])
def test_a_request_that_does_not_end_is_cancelled_and_its_spans_still_leave(
    start: Callable[..., CloudRun], shapes: Path, journal: Journal, path: str
) -> None:
    run = start(shapes)
    with ThreadPoolExecutor() as clients:
        reply = clients.submit(run.get, path)
        until(lambda: sum(journal.started().values()) >= 1, "the span's start")
        ended = run.terminate()
        assert reply.exception() is not None or reply.result().status >= 500
    assert ended.code == 0, run.logs()
    assert 5 < ended.seconds < 10
    assert run.span_ids() == journal.started()


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/stuck", "/stubborn"])
def test_a_request_that_cannot_be_cancelled_is_left_behind_before_the_platform_kills(
    start: Callable[..., CloudRun], shapes: Path, journal: Journal, path: str
) -> None:
    run = start(shapes)
    run.get("/plain")
    with ThreadPoolExecutor() as clients:
        clients.submit(run.get, path)
        until(lambda: sum(journal.started().values()) == 3, "the span's start")
        ended = run.terminate()
    assert ended.code == 0, run.logs()
    assert ended.seconds < 10


@pytest.mark.parametrize("port", ["0", "http", "65536"])
def test_a_wrong_port_is_one_line(project: Path, port: str) -> None:
    import subprocess  # noqa: PLC0415

    service = project / "services" / "api"
    ended = subprocess.run(
        [service / ".venv" / "bin" / "python", "-m", "app"],
        cwd=service,
        env={"PORT": port},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode != 0
    assert ended.stderr.splitlines() == [f"PORT must be a number from 1 to 65535, got '{port}'"]
