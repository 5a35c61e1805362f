"""OTLP requests to stored spans, and the checks that the Telemetry API makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.proto.trace.v1 import trace_pb2

from cloudrun.rules import PROJECT_REQUIRED, REQUEST_LIMIT, SPAN_LIMITS, imitates
from cloudrun.store import Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

_NAME_BYTES: Final = 1024
_KEY_BYTES: Final = 512
_VALUE_BYTES: Final = 64 * 1024
_SPAN_ATTRIBUTES: Final = 1024
_EVENTS: Final = 256
_LINKS: Final = 128
_REQUEST_ATTRIBUTES: Final = 8192


def refusal(request: ExportTraceServiceRequest) -> str | None:
    """Return why the Telemetry API refuses `request` as a whole, or None.

    Whether the API refuses or cuts a span above its limits is not documented; it is refused here, the stricter way.
    """
    return next((problem for part in request.resource_spans for problem in _problems(part)), None)


@imitates(PROJECT_REQUIRED, SPAN_LIMITS, REQUEST_LIMIT)
def _problems(part: trace_pb2.ResourceSpans) -> Iterator[str]:
    if not any(pair.key == "gcp.project_id" and pair.value.string_value for pair in part.resource.attributes):
        yield "resource attribute gcp.project_id is missing"
    total = len(part.resource.attributes)
    for scope in part.scope_spans:
        for span in scope.spans:
            yield from _span_problems(span)
            total += sum(1 for _ in _all_attributes(span))
    if total > _REQUEST_ATTRIBUTES:
        yield f"{total} attributes in one ResourceSpans, {_REQUEST_ATTRIBUTES} are allowed"


def _span_problems(span: trace_pb2.Span) -> Iterator[str]:
    label = f"span {span.name[:40]!r}"
    counts = (
        ("attributes", len(span.attributes), _SPAN_ATTRIBUTES),
        ("events", len(span.events), _EVENTS),
        ("links", len(span.links), _LINKS),
    )
    for what, count, limit in counts:
        if count > limit:
            yield f"{label}: {count} {what}, {limit} are allowed"
    for name in (span.name, *(event.name for event in span.events)):
        if len(name.encode()) > _NAME_BYTES:
            yield f"{label}: a name of {len(name.encode())} bytes, {_NAME_BYTES} are allowed"
    for pair in _all_attributes(span):
        if len(pair.key.encode()) > _KEY_BYTES:
            yield f"{label}: an attribute key of {len(pair.key.encode())} bytes, {_KEY_BYTES} are allowed"
        if pair.value.ByteSize() > _VALUE_BYTES + 16:  # the field's own tag and length
            yield f"{label}: {pair.key[:40]} has {pair.value.ByteSize()} bytes, {_VALUE_BYTES} are allowed"


def _all_attributes(span: trace_pb2.Span) -> Iterator[KeyValue]:
    yield from span.attributes
    for event in span.events:
        yield from event.attributes
    for link in span.links:
        yield from link.attributes


def spans_of(request: ExportTraceServiceRequest) -> Iterator[Span]:
    """Return the spans of `request`."""
    for part in request.resource_spans:
        resource = _dict(part.resource.attributes)
        service = str(resource.get("service.name", "unknown_service"))
        for scope in part.scope_spans:
            for span in scope.spans:
                yield Span(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex() or None,
                    name=span.name,
                    kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    service=service,
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    status=trace_pb2.Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
                    attributes=_dict(span.attributes),
                    resource=resource,
                    events=[(event.name, _dict(event.attributes)) for event in span.events],
                    links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                    trace_state=span.trace_state,
                    flags=span.flags,
                )


def _dict(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _dict(value.kvlist_value.values)
    return getattr(value, kind)
