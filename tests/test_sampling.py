"""Exactly the traces of the shared rule are kept, whatever the platform's flag says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from cloudrun.sampling import keeps, new_span_id, new_trace_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloudrun import CloudRun

REQUESTS = 5000
RATIO = 0.1


@pytest.mark.parametrize(
    "flag", [pytest.param(True, id="flag 01"), pytest.param(False, id="flag 00", marks=pytest.mark.slow)]
)
def test_exactly_the_rules_traces_are_kept(start: Callable[..., CloudRun], shapes: Path, flag: bool) -> None:
    run = start(shapes, OTEL_TRACES_SAMPLER_ARG=str(RATIO))
    run.force_flag(sampled=flag)
    trace_ids = [new_trace_id() for _ in range(REQUESTS)]
    with ThreadPoolExecutor(8) as clients:
        headers = ({"traceparent": f"00-{trace_id}-{new_span_id()}-{flag:02x}"} for trace_id in trace_ids)
        statuses = set(clients.map(lambda sent: run.get("/empty", headers=sent).status, headers))
    assert statuses == {204}
    expected = {trace_id for trace_id in trace_ids if keeps(trace_id, RATIO)}
    assert 0 < len(expected) < REQUESTS, "the rule kept all or nothing: nothing is proven"
    assert run.instance().frozen
    assert run.trace_ids() == expected


def test_a_disabled_sdk_leaves_the_service_working(start: Callable[..., CloudRun], project: Path) -> None:
    run = start(project, OTEL_SDK_DISABLED="true")
    for path in ("/items/1", "/items/1/reviews"):
        assert run.get(path).status == 200
    assert "traceparent" not in run.system.upstream.headers[0]
    assert run.system.telemetry_api.intake.exports == 0
    ended = run.terminate()
    assert ended.code == 0, run.logs()
