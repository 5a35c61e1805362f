from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from incoming import asgi_scope, header_lists, header_values
from opentelemetry import baggage
from opentelemetry.trace import set_span_in_context
from recorder import Recorder
from vectors import vectors

from tracerun.caller_limits import limits_in
from tracerun.propagation import READ_HEADERS, TracePropagator, incoming_in, raw_headers
from tracerun.settings import Settings
from tracerun.telemetry import build

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]")


def server_span(case: dict[str, Any], ratio: float, *, keep_errors: bool = True) -> ReadableSpan | None:
    """Return the SERVER span that a service makes of the case's headers, if it is kept."""
    recorder = Recorder()
    settings = Settings(
        ratio=ratio,
        keep_errors=keep_errors,
        keep_slower_than=0,
        trust_callers=case.get("trust", False),
        google_backend=case.get("backend", "google") == "google",
    )
    telemetry = build(settings, lambda: recorder)
    assert telemetry.spans is not None
    assert telemetry.flush is not None
    scope = asgi_scope(case["headers"])
    telemetry.spans.end(telemetry.spans.start(scope)[0], scope)
    telemetry.flush.force_flush()
    return recorder.spans[0] if recorder.spans else None


@pytest.mark.parametrize("keep_errors", [True, False], ids=["errors kept", "errors not kept"])
@pytest.mark.parametrize("case", vectors("propagation")["cases"], ids=lambda case: case["name"])
def test_headers_mean_the_same_in_every_language(case: dict[str, Any], keep_errors: bool) -> None:
    expected = case["expect"]
    at_one = server_span(case, 1.0, keep_errors=keep_errors)
    at_zero = server_span(case, 0.0, keep_errors=keep_errors)
    if expected["trusted"]:
        assert (at_one is not None) is expected["kept"]
        assert (at_zero is not None) is expected["kept"]
    else:
        assert at_one is not None
        assert at_zero is None
    if at_one is None:
        return
    assert at_one.context is not None
    if expected["trace_id"] is not None:
        assert f"{at_one.context.trace_id:032x}" == expected["trace_id"]
    assert (f"{at_one.parent.span_id:016x}" if at_one.parent else None) == expected["parent"]
    if "random" in expected:
        assert at_one.context.trace_flags.random_trace_id is expected["random"]


def test_tracestate_is_handed_on_by_roots_and_children() -> None:
    for flag in ("00", "01"):
        headers = {
            "traceparent": f"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flag}",
            "tracestate": "vendor=value,ot=rv:abcdefabcdefab",
        }
        span = server_span({"headers": headers}, 1.0)
        assert span is not None
        assert span.context is not None
        assert span.context.trace_state.to_header() == headers["tracestate"]


def test_both_headers_are_sent_and_equal() -> None:
    telemetry = build(Settings(), Recorder)
    assert telemetry.provider is not None
    span = telemetry.provider.get_tracer("test").start_span("client")
    sent: dict[str, str] = {}
    telemetry.propagator.inject(sent, set_span_in_context(span))
    assert TRACEPARENT.fullmatch(sent["traceparent"])
    assert sent["original-traceparent"] == sent["traceparent"]


def test_baggage_is_taken_from_trusted_callers_only() -> None:
    headers = {
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
        "original-traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-b7ad6b7169203331-00",
        "baggage": "tenant=blue",
    }
    for trust in (True, False):
        context = TracePropagator(trust_callers=trust, google_backend=True).extract(headers)
        assert baggage.get_all(context) == ({"tenant": "blue"} if trust else {})


@given(
    st.dictionaries(st.sampled_from(sorted(READ_HEADERS)), st.lists(header_values, min_size=1, max_size=3)),
    st.booleans(),
)
def test_no_header_raises_or_leads_to_a_malformed_one(headers: dict[str, list[str]], trust: bool) -> None:
    propagator = TracePropagator(trust_callers=trust, google_backend=True)
    context = propagator.extract(headers, getter=raw_headers)
    sent: dict[str, str] = {}
    propagator.inject(sent, context)
    for name in ("traceparent", "original-traceparent"):
        assert name not in sent or TRACEPARENT.fullmatch(sent[name])


@settings(max_examples=500)
@given(header_lists, st.booleans(), st.booleans())
def test_plain_headers_mean_what_the_official_propagators_say(
    headers: Mapping[str, Sequence[str]], trust: bool, google: bool
) -> None:
    propagator = TracePropagator(trust_callers=trust, google_backend=google)
    expected = propagator.extract({name: list(found) for name, found in headers.items()}, getter=raw_headers)
    incoming, context = propagator.read(asgi_scope(headers)["headers"])
    official = incoming_in(expected)
    assert (incoming and incoming._replace(trace_state=None)) == (official and official._replace(trace_state=None))
    assert dict(incoming.trace_state or {} if incoming else {}) == dict(official.trace_state or {} if official else {})
    assert baggage.get_all(context) == baggage.get_all(expected)
    limits, official_limits = limits_in(context), limits_in(expected)
    assert limits.attempt == official_limits.attempt
    assert (limits.deadline is None) is (official_limits.deadline is None)
