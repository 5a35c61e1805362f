"""200,000 requests while the back end fails in every way: no request notices, and the memory stays flat."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.observed import memory_mib, said_lost
from tests.raw_http import flood

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudrun import CloudRun

    from tests.conftest import Variant
    from tests.journal import Journal

PHASE = 40_960
ALLOWED_MIB = 8
"""Growth from the end of the first phase, when every queue is full, to the end of the last."""


def soak(run: CloudRun) -> float:
    assert asyncio.run(flood(run.instance().port, "/plain", PHASE)) == {200: PHASE}
    return memory_mib(run)


@pytest.mark.slow
@pytest.mark.alone
def test_memory_is_flat_and_every_lost_span_is_counted(
    start: Callable[..., CloudRun], variant: Variant, journal: Journal
) -> None:
    run = start(variant(billing="instance"), OTEL_TRACES_SAMPLER_ARG="0.5")
    run.stop_back_end()
    first = soak(run)
    memory = [soak(run)]
    run.resume_back_end()
    for trouble in ({"status": 503}, {"status": 429}, {"delay": 5.0}):
        run.back_end(**trouble)
        memory.append(soak(run))
    assert max(memory) - first < ALLOWED_MIB, f"MiB after each phase: {first:.0f}, {[f'{mib:.0f}' for mib in memory]}"
    run.back_end()
    assert run.terminate().code == 0
    started, delivered = journal.started(), run.span_ids()
    assert sum(started.values()) > 2 * PHASE, "too few spans were sampled"
    # A slow export may have arrived although its sender gave it up and counted it.
    assert len(started) - len(delivered) <= said_lost(run) <= len(started)
