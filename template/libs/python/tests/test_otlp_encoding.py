"""Decoded, our requests are equal to those of the official encoder."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from tracerun.limits import within_limits
from tracerun.otlp_encoding import encode

texts = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.text(max_size=5),  # with lone surrogates, which UTF-8 cannot say
    st.sampled_from(["", "x" * 127, "x" * 128, "é" * 8192, "x" * 16384, "x" * 70_000]),
)
scalars = st.one_of(
    texts,
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=20),
    st.none(),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
attributes = st.one_of(st.none(), st.dictionaries(texts, values, max_size=5))
times = st.integers(1, (1 << 64) - 1)


@st.composite
def contexts(draw: st.DrawFn) -> SpanContext:
    states = st.dictionaries(st.sampled_from(["ot", "vendor", "a@b"]), st.sampled_from(["th:8", "1"]), max_size=3)
    return SpanContext(
        draw(st.integers(1, (1 << 128) - 1)),
        draw(st.integers(1, (1 << 64) - 1)),
        is_remote=draw(st.booleans()),
        trace_flags=TraceFlags(draw(st.integers(0, 3))),
        trace_state=TraceState(list(draw(states).items())),
    )


resources = st.builds(Resource, st.dictionaries(st.sampled_from(["a", "é"]), st.text("xy")), st.sampled_from(["", "s"]))
scopes = st.one_of(
    st.none(),
    st.builds(
        InstrumentationScope,
        st.sampled_from(["fastapi", ""]),
        st.sampled_from([None, "1"]),
        st.sampled_from([None, "https://opentelemetry.io/schemas/1.44.0"]),
        st.sampled_from([None, {"kind": "x"}]),
    ),
)
spans = st.builds(
    ReadableSpan,
    name=texts,
    context=contexts(),
    parent=st.one_of(st.none(), contexts()),
    resource=resources,
    attributes=attributes,
    events=st.lists(st.builds(Event, texts, attributes, times), max_size=3),
    links=st.lists(st.builds(Link, contexts(), attributes), max_size=3),
    kind=st.sampled_from(SpanKind),
    status=st.one_of(
        st.sampled_from([Status(), Status(StatusCode.OK)]), st.builds(Status, st.just(StatusCode.ERROR), texts)
    ),
    start_time=times,
    end_time=times,
    instrumentation_scope=scopes,
)


def decoded(data: bytes) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest.FromString(data)


@given(st.lists(spans, max_size=4))
def test_a_request_says_what_the_official_encoders_says(batch: list[ReadableSpan]) -> None:
    assert decoded(encode(batch)) == encode_spans([within_limits(span) for span in batch])


def test_spans_of_one_resource_and_scope_stand_together() -> None:
    context = SpanContext(1, 2, is_remote=False)
    batch = [ReadableSpan("a", context, resource=Resource({"service.name": "one"})) for _ in range(3)]
    request = decoded(encode(batch))
    assert len(request.resource_spans) == 1
    assert len(request.resource_spans[0].scope_spans) == 1
    assert request == encode_spans(batch)


@pytest.mark.parametrize("value", [1 << 63, -(1 << 63) - 1, object(), [1 << 64], {"a": object()}])
def test_what_otlp_cannot_say_is_left_to_the_official_encoder(value: Any) -> None:
    span = ReadableSpan("a", SpanContext(1, 2, is_remote=False), attributes={"a": value}, resource=Resource({}))
    with pytest.raises((TypeError, ValueError)):
        encode([span])
