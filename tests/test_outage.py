"""A back end in trouble costs requests a bounded wait and spans nothing, as long as the instance lives."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cloudrun import CloudRun

    from tests.conftest import Journal

REQUESTS = 12
DEADLINE = 0.5
"""Seconds: the longest that one response waits."""
BOUND = 5 * DEADLINE
"""Seconds that all of them may wait together: three in vain open the breaker, and one tries again after a pause."""


@contextmanager
def raw_server(answer: bytes, *, hang: bool = False) -> Iterator[str]:
    """Answer whatever comes with `answer`, and close; or say nothing for ever."""
    server = socket.create_server(("127.0.0.1", 0))
    kept: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
                kept.append(connection)
                connection.recv(65536)
                if not hang:
                    connection.sendall(answer)
                    connection.close()
            except OSError:
                if server.fileno() == -1:
                    return

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.close()
        for connection in kept:
            connection.close()


BACK_ENDS = {
    "hangs": (b"", True),
    "answers garbage": (b"\x00\x01\x02 nonsense\r\n\r\n", False),
    "says nothing and closes": (b"", False),
    "dies in the middle of the body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", False),
    "is 503": (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", False),
    "is 429 with Retry-After": (b"HTTP/1.1 429 Too Many\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n", False),
    "is 500": (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", False),
    "sends elsewhere": (b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", False),
    "is 304": (b"HTTP/1.1 304 Not Modified\r\n\r\n", False),
    "is 404": (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", False),
}


def waits(run: CloudRun, requests: int = REQUESTS) -> list[float]:
    """Return how long each of some requests took, in seconds; all must be answered well."""
    seconds = []
    for _ in range(requests):
        began = time.monotonic()
        assert run.get("/plain").status == 200
        seconds.append(time.monotonic() - began)
    return seconds


def check(run: CloudRun, seconds: list[float]) -> None:
    assert max(seconds) < 3 * DEADLINE, f"one response took {max(seconds):.2f} s"
    assert sum(seconds) < BOUND + REQUESTS * 0.05, f"all took {sum(seconds):.2f} s: {[f'{s:.3f}' for s in seconds]}"
    assert median(seconds) < 0.1, f"the median took {median(seconds):.3f} s"
    ended = run.terminate()
    assert ended.code == 0, run.logs()
    assert ended.seconds < 6, f"the end took {ended.seconds:.1f} s (promised: 4 s; the bound is generous)"
    assert any(f"{2 * REQUESTS} spans were lost" in line for line in run.logs()), run.logs()


@pytest.mark.slow
@pytest.mark.parametrize("trouble", BACK_ENDS)
def test_a_back_end_that(start: Callable[..., CloudRun], shapes: Path, trouble: str) -> None:
    answer, hang = BACK_ENDS[trouble]
    with raw_server(answer, hang=hang) as url:
        run = start(shapes, OTEL_EXPORTER_OTLP_ENDPOINT=url)
        check(run, waits(run))


@pytest.mark.slow
def test_a_back_end_whose_tls_fails(start: Callable[..., CloudRun], shapes: Path) -> None:
    with raw_server(b"HTTP/1.1 400 Bad\r\n\r\n") as url:
        run = start(shapes, OTEL_EXPORTER_OTLP_ENDPOINT=url.replace("http:", "https:"))
        check(run, waits(run))


def test_a_back_end_that_refuses_connections_and_comes_back_gets_every_span(
    start: Callable[..., CloudRun], shapes: Path, journal: Journal
) -> None:
    run = start(shapes)
    run.stop_back_end()
    seconds = waits(run)
    assert sum(seconds) < BOUND + REQUESTS * 0.05
    assert not run.span_ids()
    run.resume_back_end()
    run.get("/slow?seconds=2")
    run.terminate()
    assert run.span_ids() == journal.started()
    assert sum(run.span_ids().values()) == 2 * REQUESTS + 1
    assert not any("lost" in line for line in run.logs())


def test_a_back_end_that_takes_as_long_as_the_deadline_loses_nothing(
    start: Callable[..., CloudRun], shapes: Path, journal: Journal
) -> None:
    run = start(shapes)
    run.back_end(delay=DEADLINE)
    for _ in range(4):
        run.get("/plain")
    run.back_end(delay=0)
    run.terminate()
    assert not journal.started() - run.span_ids()


def test_a_back_end_that_is_slower_than_the_deadline_is_soon_not_waited_for(
    start: Callable[..., CloudRun], shapes: Path
) -> None:
    run = start(shapes)
    run.back_end(delay=DEADLINE + 0.1)
    seconds = waits(run, 100)
    in_vain = sum(second >= DEADLINE for second in seconds)
    assert in_vain, "no response waited: nothing is proven"
    assert in_vain <= 4, f"{in_vain} responses waited in vain: three open the breaker, then one may try again"
    assert median(seconds) < 0.1


def test_spans_that_the_back_end_will_never_take_are_counted_and_do_not_block_the_next(
    start: Callable[..., CloudRun], shapes: Path
) -> None:
    run = start(shapes, OTEL_RESOURCE_ATTRIBUTES="service.namespace=orders")
    for _ in range(3):
        began = time.monotonic()
        assert run.get("/plain").status == 200
        assert time.monotonic() - began < 3 * DEADLINE
    run.terminate()
    assert run.system.telemetry_api.intake.refused
    assert set(run.system.telemetry_api.intake.refused) == {"resource attribute gcp.project_id is missing"}
    assert any("2 spans were lost" in line for line in run.logs()), run.logs()


def test_a_span_with_text_that_cannot_be_sent_costs_no_other(
    start: Callable[..., CloudRun], shapes: Path, journal: Journal
) -> None:
    run = start(shapes)
    run.request("POST", "/name", content=b'{"name": "\\ud800"}')
    run.get("/plain")
    assert run.span_ids() == journal.started()
    assert sum(run.span_ids().values()) == 4
