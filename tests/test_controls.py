"""The stock ways of tracing, run in the same harness, lose what we do not: else the other proofs prove nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloudrun import CloudRun

    from tests.journal import Journal

SINGLE_REQUESTS = 20
BACK_END = 0.02
"""Seconds that the back end takes to answer; real ones take longer."""


def test_the_batch_processor_loses_every_span(start: Callable[..., CloudRun], stock: Path, journal: Journal) -> None:
    run = start(stock, CONTROL="batch")
    for _ in range(SINGLE_REQUESTS):
        assert run.get("/plain").status == 200
    run.kill()
    assert sum(journal.started().values()) == SINGLE_REQUESTS
    assert sum(run.span_ids().values()) == 0


def test_a_flush_after_the_response_comes_too_late(
    start: Callable[..., CloudRun], stock: Path, journal: Journal
) -> None:
    run = start(stock, CONTROL="flush-after")
    run.back_end(delay=BACK_END)
    missing_while_frozen = 0
    for _ in range(SINGLE_REQUESTS):
        assert run.get("/plain").status == 200
        assert run.instance().frozen
        missing_while_frozen += sum((journal.started() - run.span_ids()).values())
    assert missing_while_frozen > 0, "the flush was in time: the instance was not frozen soon enough"


def test_the_parents_flag_drops_every_trace_that_the_platform_did_not_sample(
    start: Callable[..., CloudRun], stock: Path, journal: Journal
) -> None:
    run = start(stock, CONTROL="parent-based")
    run.force_flag(sampled=False)
    for _ in range(SINGLE_REQUESTS):
        assert run.get("/plain").status == 200
    assert not journal.started()
    run.force_flag(sampled=True)
    run.get("/plain")
    assert sum(journal.started().values()) == 1, "the control samples nothing at all: it proves nothing"
