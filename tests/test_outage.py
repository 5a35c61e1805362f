"""A back end in trouble costs requests a bounded wait and spans nothing, as long as the instance lives."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

import pytest
from cloudrun.tls import CertificateAuthority

from tests.traffic import waits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloudrun import CloudRun

    from tests.conftest import Variant
    from tests.journal import Journal

REQUESTS = 12
DEADLINE = 0.5
"""Seconds: the longest that one response waits."""
BOUND = 5 * DEADLINE
"""Seconds that all of them may wait together: three in vain open the breaker, and one tries again after a pause."""


TROUBLES: dict[str, dict[str, Any]] = {
    "hangs": {"delay": 60},
    "answers garbage": {"raw": b"\x00\x01\x02 nonsense\r\n\r\n"},
    "says nothing and closes": {"raw": b""},
    "dies in the middle of the body": {"raw": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"},
    "is 503": {"status": 503},
    "is 429 with Retry-After": {"status": 429, "retry_after": 30},
    "is 500": {"status": 500},
    "sends elsewhere": {"raw": b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n"},
    "is 304": {"raw": b"HTTP/1.1 304 Not Modified\r\n\r\n"},
    "is 404": {"status": 404},
}
exporters = pytest.mark.parametrize("exporter", ["sidecar", "direct"])
billings = pytest.mark.parametrize("billing", ["request", "instance"])


def check(run: CloudRun, seconds: list[float]) -> None:
    assert max(seconds) < 3 * DEADLINE, f"one response took {max(seconds):.2f} s"
    assert sum(seconds) < BOUND + REQUESTS * 0.05, f"all took {sum(seconds):.2f} s: {[f'{s:.3f}' for s in seconds]}"
    assert median(seconds) < 0.1, f"the median took {median(seconds):.3f} s"
    ended = run.terminate()
    assert ended.code == 0, run.logs()
    assert ended.seconds < 6, f"the end took {ended.seconds:.1f} s (promised: 4 s; the bound is generous)"
    assert any(f"{2 * REQUESTS} spans were lost" in line for line in run.logs()), run.logs()


@pytest.mark.slow
@exporters
@billings
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_back_end_that(
    start: Callable[..., CloudRun], variant: Variant, exporter: str, billing: str, trouble: str
) -> None:
    run = start(variant(exporter=exporter, billing=billing))
    run.back_end(**TROUBLES[trouble])
    check(run, waits(run, REQUESTS))


@exporters
def test_a_back_end_that_asks_to_be_left_alone_is_not_waited_for(
    start: Callable[..., CloudRun], variant: Variant, exporter: str
) -> None:
    run = start(variant(exporter=exporter))
    run.back_end(status=429, retry_after=30)
    seconds = waits(run, REQUESTS)
    assert sum(seconds) < DEADLINE, f"all took {sum(seconds):.2f} s: {[f'{s:.3f}' for s in seconds]}"


@pytest.mark.slow
def test_a_back_end_whose_tls_fails(start: Callable[..., CloudRun], variant: Variant) -> None:
    stranger = CertificateAuthority()
    run = start(variant(exporter="direct"), OTEL_EXPORTER_OTLP_CERTIFICATE=str(stranger.bundle))
    check(run, waits(run, REQUESTS))
    stranger.close()


def test_a_back_end_that_refuses_connections_and_comes_back_gets_every_span(
    start: Callable[..., CloudRun], shapes: Path, journal: Journal
) -> None:
    run = start(shapes)
    run.stop_back_end()
    seconds = waits(run, REQUESTS)
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
    assert max(waits(run, 3)) < 3 * DEADLINE
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
