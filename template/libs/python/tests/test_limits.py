from __future__ import annotations

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from tracerun.limits import DESCRIPTION_BYTES, KEY_BYTES, NAME_BYTES, REQUEST_ATTRIBUTES, VALUE_BYTES, within_limits
from tracerun.span_queue import BATCH, BATCH_BYTES, CAPACITY_BYTES, SpanQueue

CONTEXT = SpanContext(1, 1, is_remote=False)


def test_a_span_within_the_limits_is_not_copied() -> None:
    span = ReadableSpan("ä" * (NAME_BYTES // 2), CONTEXT, attributes={"k" * KEY_BYTES: "v" * VALUE_BYTES})
    assert within_limits(span) is span


def test_names_keys_and_values_are_cut_in_bytes_and_stay_text() -> None:
    span = ReadableSpan(
        "ä" * NAME_BYTES,
        CONTEXT,
        attributes={"ß" * KEY_BYTES: "€" * VALUE_BYTES, "list": ["€" * 1000] * 100, "bytes": b"x" * VALUE_BYTES * 2},
        events=[Event("ö" * NAME_BYTES, {"key": "ü" * VALUE_BYTES})],
        links=[Link(CONTEXT, {"key": "ü" * VALUE_BYTES})],
    )
    cut = within_limits(span)
    assert len(cut.name.encode()) == NAME_BYTES
    values = dict(cut.attributes or {})
    assert len(values["ß" * (KEY_BYTES // 2)].encode()) in range(VALUE_BYTES - 3, VALUE_BYTES + 1)  # type: ignore[union-attr]
    assert len(values["list"]) == VALUE_BYTES // 3000  # type: ignore[arg-type]
    assert len(values["bytes"]) == VALUE_BYTES  # type: ignore[arg-type]
    for attributes in (cut.events[0].attributes, cut.links[0].attributes):
        assert len(str((attributes or {})["key"]).encode()) == VALUE_BYTES
    assert len(cut.events[0].name.encode()) == NAME_BYTES


def test_lone_surrogates_are_no_obstacle_wherever_they_stand() -> None:
    bad = "no item called \ud800"
    span = ReadableSpan(
        bad,
        CONTEXT,
        resource=Resource({}),
        attributes={bad: bad, "list": [bad], "map": {bad: bad}},
        events=[Event(bad, {bad: bad})],
        links=[Link(CONTEXT, {bad: bad})],
        status=Status(StatusCode.ERROR, bad),
        kind=SpanKind.SERVER,
        start_time=1,
        end_time=2,
    )
    sent = encode_spans([within_limits(span)]).SerializeToString()
    assert sent.count(b"no item called ?") == 12


def test_a_status_description_is_cut() -> None:
    span = ReadableSpan("s", CONTEXT, status=Status(StatusCode.ERROR, "ä" * 100_000))
    assert len((within_limits(span).status.description or "").encode()) == DESCRIPTION_BYTES


def test_the_queue_is_bounded_in_bytes() -> None:
    queue = SpanQueue()
    resource = Resource({})
    accepted = 0
    while queue.offer(ReadableSpan("s", CONTEXT, resource=resource, attributes={"text": "x" * 60_000})):
        accepted += 1
    assert accepted == CAPACITY_BYTES // (60_000 + 1024)
    assert len(queue.take()) == BATCH_BYTES // (60_000 + 1024)
    while len(queue):
        queue.take()
    assert queue.offer(ReadableSpan("s", CONTEXT, resource=resource))


def test_a_batch_has_no_more_attributes_than_one_export_may() -> None:
    queue = SpanQueue()
    resource = Resource({"service.name": "x"})
    for _ in range(100):
        assert queue.offer(ReadableSpan("s", CONTEXT, resource=resource, attributes={f"k{n}": n for n in range(100)}))
    sizes = []
    while len(queue):
        sizes.append(len(queue.take()))
    assert sizes == [81, 19]
    assert REQUEST_ATTRIBUTES >= 81 * 100 + 1


def test_a_batch_has_no_more_spans_than_512_and_keeps_their_order() -> None:
    queue = SpanQueue()
    spans = [ReadableSpan(str(number), CONTEXT, resource=Resource({})) for number in range(BATCH + 10)]
    for span in spans:
        queue.offer(span)
    first = queue.take()
    assert first == spans[:BATCH]
    queue.put_back(first)
    assert queue.take() + queue.take() == spans


def test_a_full_queue_takes_no_more() -> None:
    queue = SpanQueue(capacity=2)
    assert [queue.offer(ReadableSpan("s", CONTEXT)) for _ in range(3)] == [True, True, False]
