from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from vectors import vectors

from tracerun.propagation import TracePropagator
from tracerun.sampling import RatioSampler, is_kept, threshold

VECTORS = vectors("sampling")
KEPT_AT_HALF = 0xFFFFFFFFFFFFFFFF
DROPPED_AT_HALF = 0x0000000000000001


@pytest.mark.parametrize("case", VECTORS["thresholds"], ids=lambda case: str(case["ratio"]))
def test_threshold_is_the_shared_one(case: dict[str, Any]) -> None:
    assert threshold(case["ratio"]) == case["threshold"]


@pytest.mark.parametrize("case", VECTORS["decisions"], ids=lambda case: f"{case['ratio']}-{case['trace_id']}")
def test_decision_is_the_shared_one(case: dict[str, Any]) -> None:
    assert is_kept(int(case["trace_id"], 16), threshold(case["ratio"])) is case["kept"]


@pytest.mark.parametrize("flag", [0, 1])
@pytest.mark.parametrize(("trace_id", "kept"), [(KEPT_AT_HALF, True), (DROPPED_AT_HALF, False)])
def test_the_platforms_flag_decides_nothing(trace_id: int, flag: int, kept: bool) -> None:
    headers = {"traceparent": f"00-{trace_id:032x}-00f067aa0ba902b7-{flag:02x}"}
    context = TracePropagator(trust_callers=False, google_backend=True).extract(headers)
    result = RatioSampler(0.5).should_sample(context, trace_id, "span")
    assert (result.decision is Decision.RECORD_AND_SAMPLE) is kept


@pytest.mark.parametrize("flag", [0, 1, 2, 3])
def test_the_low_bit_of_a_parent_in_this_process_decides(flag: int) -> None:
    parent = SpanContext(DROPPED_AT_HALF, 1, is_remote=False, trace_flags=TraceFlags(flag))
    context = set_span_in_context(NonRecordingSpan(parent))
    result = RatioSampler(0.5).should_sample(context, DROPPED_AT_HALF, "span")
    assert (result.decision is Decision.RECORD_AND_SAMPLE) is bool(flag & 1)


def test_a_remote_parent_that_nobody_vouches_for_decides_nothing() -> None:
    parent = SpanContext(DROPPED_AT_HALF, 1, is_remote=True, trace_flags=TraceFlags(1))
    result = RatioSampler(0.5).should_sample(set_span_in_context(NonRecordingSpan(parent)), DROPPED_AT_HALF, "span")
    assert result.decision is Decision.DROP
