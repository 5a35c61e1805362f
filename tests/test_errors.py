"""Failed and slow requests are kept at any ratio, and nobody gains more than the bounds by flags, ids or errors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from cloudrun.sampling import new_span_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloudrun import CloudRun

DROPPED = "4bf92f3577b34da6a300000000000001"
ALWAYS_KEPT = "f" * 32


def test_at_ratio_zero_exactly_the_failed_and_slow_requests_are_kept(
    start: Callable[..., CloudRun], shapes: Path
) -> None:
    run = start(shapes, OTEL_TRACES_SAMPLER_ARG="0", TRACERUN_KEEP_SLOWER_THAN_MS="200")
    expected = set()
    for path, kept in (
        ("/plain", False),
        ("/crash", True),
        ("/empty", False),
        ("/slow?seconds=0.3", True),
        ("/slow?seconds=0", False),
        ("/sync", False),
        ("/crash", True),
    ):
        reply = run.get(path)
        assert run.instance().frozen
        if kept:
            expected.add(reply.trace_id)
        assert run.trace_ids() == expected, path


def test_the_spans_that_led_to_the_error_are_kept_with_it(start: Callable[..., CloudRun], project: Path) -> None:
    run = start(project, OTEL_TRACES_SAMPLER_ARG="0")
    run.upstream(status=500)
    reply = run.get("/items/1/reviews")
    trace = run.trace(reply.trace_id)
    server, client = trace.one("SERVER GET /items/{id}/reviews"), trace.one("CLIENT GET")
    assert client.parent_id == server.span_id
    assert (server.status, client.status) == ("ERROR", "ERROR")


def test_without_keep_errors_they_are_not(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(shapes, OTEL_TRACES_SAMPLER_ARG="0", TRACERUN_KEEP_ERRORS="false", TRACERUN_KEEP_SLOWER_THAN_MS="0")
    run.get("/crash")
    run.terminate()
    assert run.trace_ids() == set()


BOUND = 10


@pytest.mark.parametrize("path", ["/empty", "/crash"], ids=["forged ids", "forced errors"])
@pytest.mark.parametrize("sampled", [True, False])
def test_a_public_caller_gains_no_more_than_the_bound(
    start: Callable[..., CloudRun], shapes: Path, path: str, sampled: bool
) -> None:
    run = start(shapes, OTEL_TRACES_SAMPLER_ARG="0.1", TRACERUN_MAX_TRACES_PER_SECOND=str(BOUND))
    run.force_flag(sampled=sampled)
    requests = 300

    def attack(number: int) -> None:
        forged = f"00-{ALWAYS_KEPT[:24] + f'{number:08x}'}-{new_span_id()}-01"
        run.get(path, headers={"traceparent": forged, "original-traceparent": forged, "tracestate": "ot=th:0"})

    with ThreadPoolExecutor(4) as clients:
        list(clients.map(attack, range(requests)))
    seconds = (run.system.requests[-1].ended_ns - run.system.requests[0].started_ns) / 1e9
    kept = len(run.trace_ids())
    buckets = 2 if path == "/crash" else 1  # errors have one of their own
    assert BOUND <= kept <= buckets * (BOUND + BOUND * seconds) + 2, f"{kept} traces in {seconds:.1f} s"
    assert kept < requests


def test_a_trusted_callers_decision_is_not_bounded(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(shapes, TRACERUN_MAX_TRACES_PER_SECOND="1", TRACERUN_TRUST_CALLERS="true")
    for number in range(50):
        sent = f"00-{DROPPED[:24]}{number + 1:08x}-{new_span_id()}-01"
        run.get("/empty", headers={"traceparent": sent, "original-traceparent": sent})
    assert len(run.trace_ids()) == 50
