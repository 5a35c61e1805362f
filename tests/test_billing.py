"""`billing: instance`: the CPU stays, so no response waits, and spans leave in the background."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.traffic import BURST, burst

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloudrun import CloudRun

    from tests.conftest import Variant
    from tests.journal import Journal


@pytest.fixture(scope="module")
def always_on(variant: Variant) -> Path:
    return variant(billing="instance")


def test_it_is_never_frozen_and_spans_arrive_by_themselves(start: Callable[..., CloudRun], always_on: Path) -> None:
    run = start(always_on)
    reply = run.get("/plain")
    assert not run.instance().frozen
    run.wait_for_trace(reply.trace_id, 2)
    assert run.instance().freezes == 0


def test_no_response_waits_for_a_slow_back_end(
    start: Callable[..., CloudRun], always_on: Path, journal: Journal
) -> None:
    run = start(always_on)
    run.back_end(delay=0.4)
    began = time.monotonic()
    for _ in range(10):
        run.get("/plain")
    assert time.monotonic() - began < 2, "responses waited for the back end"
    assert run.terminate().code == 0
    assert run.span_ids() == journal.started()
    assert sum(run.span_ids().values()) == 20


def test_a_burst_and_sigterm_lose_nothing(start: Callable[..., CloudRun], always_on: Path, journal: Journal) -> None:
    run = start(always_on)
    burst(run)
    assert run.terminate().code == 0
    assert run.span_ids() == journal.started()
    assert sum(run.span_ids().values()) == 2 * BURST


def test_work_after_the_response_is_done_and_nothing_warns(start: Callable[..., CloudRun], always_on: Path) -> None:
    run = start(always_on)
    reply = run.get("/background")
    run.wait_for_trace(reply.trace_id, 2)
    assert not any("no request was active" in line for line in run.logs())
