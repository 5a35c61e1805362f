"""No span is lost when the CPU goes: the spans started are the spans delivered, counted while it is frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.traffic import BURST, PATIENT, SINGLE_REQUESTS, burst

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloudrun import CloudRun

    from tests.journal import Journal

SLOW = 0.1

SHAPES = {
    "plain": ("/plain", 2),
    "sync": ("/sync", 2),
    "content-length": ("/length", 6),
    "chunked": ("/chunked", 1),
    "streamed": ("/streamed", 5),
    "empty": ("/empty", 2),
    "redirect": ("/redirect", 1),
    "crash": ("/crash", 1),
}
"""Path, and the spans that one request makes."""
LATE_SPANS = {"content-length": 1}
"""Of these, how many start after the last byte has left: no rule can deliver them before it."""

shapes_of_responses = pytest.mark.parametrize("shape", SHAPES)
middleware = pytest.mark.parametrize(
    "environment",
    [pytest.param({}, id="bare"), pytest.param({"WITH_MIDDLEWARE": "1"}, id="middleware", marks=pytest.mark.slow)],
)


def lost(run: CloudRun, journal: Journal) -> list[str]:
    """Return the ids of spans that were started and have not arrived; fails when one has arrived twice."""
    assert run.instance().frozen, "the instance still has CPU: nothing is proven"
    started, delivered = journal.started(), run.span_ids()
    assert started, "no span was started: nothing is proven"
    assert not delivered - started, f"arrived twice, or never started: {delivered - started}"
    return list((started - delivered).elements())


@middleware
@shapes_of_responses
def test_nothing_is_lost_when_the_cpu_goes_after_each_response(
    start: Callable[..., CloudRun], shapes: Path, journal: Journal, shape: str, environment: dict[str, str]
) -> None:
    path, spans = SHAPES[shape]
    run = start(shapes, **environment)
    before = run.instance().freezes
    for sent in range(1, SINGLE_REQUESTS + 1):
        run.get(path)
        missing = lost(run, journal)
        # A span that starts after the last byte leaves with the next request.
        assert len(missing) <= LATE_SPANS.get(shape, 0), f"request {sent}: {len(missing)} spans lost"
    assert run.instance().freezes - before == SINGLE_REQUESTS
    missing = lost(run, journal)
    run.kill()
    assert len(missing) <= LATE_SPANS.get(shape, 0)
    expected = SINGLE_REQUESTS * (spans - LATE_SPANS.get(shape, 0))
    assert sum(run.span_ids().values()) >= expected


@pytest.mark.parametrize(
    "slow",
    [pytest.param(0, id="fast back end"), pytest.param(SLOW, id="slow back end", marks=pytest.mark.slow)],
)
@middleware
@pytest.mark.parametrize("shape", ["plain", "sync", "chunked", "streamed"])
def test_nothing_is_lost_when_the_cpu_goes_after_a_burst(
    start: Callable[..., CloudRun],
    shapes: Path,
    journal: Journal,
    shape: str,
    environment: dict[str, str],
    slow: float,
) -> None:
    path, spans = SHAPES[shape]
    run = start(shapes, **environment, **PATIENT)
    run.back_end(delay=slow)
    assert {reply.status for reply in burst(run, path)} == {200}
    missing = lost(run, journal)
    assert not missing, f"{len(missing)} of {BURST * spans} spans lost"
    run.kill()
    assert sum(run.span_ids().values()) == BURST * spans


@pytest.mark.parametrize("shape", ["plain", "streamed"])
def test_nothing_is_lost_when_the_back_end_is_slow_and_the_cpu_goes_after_each_response(
    start: Callable[..., CloudRun], shapes: Path, journal: Journal, shape: str
) -> None:
    run = start(shapes, **PATIENT)
    run.back_end(delay=SLOW)
    for _ in range(SINGLE_REQUESTS):
        run.get(SHAPES[shape][0])
        assert not lost(run, journal)


@pytest.mark.parametrize("shape", ["plain", "sync", "content-length", "streamed"])
def test_nothing_is_lost_when_sigterm_comes_straight_after_a_response(
    start: Callable[..., CloudRun], shapes: Path, journal: Journal, shape: str
) -> None:
    run = start(shapes)
    run.get(SHAPES[shape][0])
    ended = run.terminate()
    assert ended.code == 0, run.logs()
    assert journal.started() == run.span_ids()
    assert sum(run.span_ids().values()) == SHAPES[shape][1]
