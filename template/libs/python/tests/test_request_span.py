from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from incoming import asgi_scope, header_lists
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import SpanContext, Status, StatusCode, set_span_in_context
from recorder import Recorder

from tracerun.limits import NAME_BYTES
from tracerun.settings import Settings
from tracerun.telemetry import build

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Span


class Listener(SpanProcessor):
    """A processor that a user adds."""

    def __init__(self) -> None:
        self.started: list[Span] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        self.started.append(span)


class Service:
    """A service that serves what `scope` says; `handler` runs with the request's span as the current one."""

    def __init__(self, **settings: Any) -> None:
        self.recorder = Recorder()
        self.telemetry = build(
            Settings(**{"keep_errors": False, "keep_slower_than": 0, "google_backend": True, **settings}),
            lambda: self.recorder,
        )

    def serve(self, scope: dict[str, Any], handler: Callable[[Span], object] = id, status: int = 200) -> Span:
        spans = self.telemetry.spans
        assert spans is not None
        span, _ = spans.start(scope)
        handler(span)
        spans.end(span, scope, status)
        return span

    def exported(self) -> list[ReadableSpan]:
        assert self.telemetry.flush is not None
        self.telemetry.flush.force_flush()
        return self.recorder.spans

    def listen(self) -> Listener:
        listener = Listener()
        assert self.telemetry.provider is not None
        self.telemetry.provider.add_span_processor(listener)
        return listener


def told(span: ReadableSpan) -> dict[str, Any]:
    """Return all that a span says, but for the ids and times that differ from one to the next."""
    context, parent = span.context, span.parent
    assert context is not None
    assert (span.start_time or 0) <= (span.end_time or 0)
    return {
        "name": span.name,
        "context": (context.trace_flags, context.is_remote, context.trace_state.to_header()),
        "parent": parent and (parent.trace_id, parent.span_id, parent.is_remote),
        "kind": span.kind,
        "attributes": list((span.attributes or {}).items()),
        "events": [(event.name, dict(event.attributes or {})) for event in span.events],
        "links": [(link.context, dict(link.attributes or {})) for link in span.links],
        "status": (span.status.status_code, span.status.description),
        "scope": span.instrumentation_scope,
        "resource": span.resource,
        "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
    }


kinds = st.sampled_from([{"type": "http"}, {"type": "websocket"}])
methods = st.sampled_from([{}, {"method": "GET"}, {"method": "PUT"}, {"method": "BREW"}])
routes = st.sampled_from([{}, {"route": type("Route", (), {"path_format": "/items/{id}"})()}])
paths = st.builds(lambda path: {"path": path}, st.text(max_size=20) | st.just("/" + "x" * NAME_BYTES))


@settings(max_examples=500)
@given(header_lists, st.tuples(kinds, methods, routes, paths), st.sampled_from([0, 101, 200, 404]), st.booleans())
def test_a_span_that_nobody_touches_ends_as_the_sdks_would(
    headers: Mapping[str, Sequence[str]], parts: Sequence[dict[str, Any]], status: int, trust: bool
) -> None:
    scope = asgi_scope(headers)
    for part in parts:
        scope |= part
    ours, official = Service(trust_callers=trust), Service(trust_callers=trust)
    listener = official.listen()
    for service in (ours, official):
        service.serve(scope, status=status)
    assert len(listener.started) <= 1
    assert [told(span) for span in ours.exported()] == [told(span) for span in official.exported()]
    incoming, _ = ours.telemetry.propagator.read(scope["headers"])
    for span in (*ours.exported(), *official.exported()):
        assert incoming is None or (span.context and span.context.trace_id) == incoming.trace_id


@settings(max_examples=500)
@given(header_lists, st.booleans(), st.booleans())
def test_ids_are_those_that_a_plain_sdk_takes_from_the_parent(
    headers: Mapping[str, Sequence[str]], trust: bool, sampled: bool
) -> None:
    """A dropped span and a recorded one."""
    service = Service(ratio=float(sampled), trust_callers=trust)
    scope = asgi_scope(headers)
    incoming, context = service.telemetry.propagator.read(scope["headers"])
    if (
        incoming is None
        or incoming.parent is None
        or (incoming.trusted and incoming.parent.trace_flags.sampled != sampled)
    ):
        return
    plain = TracerProvider(ALWAYS_ON if sampled else ALWAYS_OFF, shutdown_on_exit=False).get_tracer("test")
    official = plain.start_span("GET", incoming.put_into(context)).get_span_context()
    ours = service.serve(scope).get_span_context()
    assert ours.span_id != official.span_id
    assert ours.is_valid
    assert (ours.trace_id, ours.trace_flags, ours.is_remote, ours.trace_state.to_header()) == (
        official.trace_id,
        official.trace_flags,
        official.is_remote,
        official.trace_state.to_header(),
    )


@settings(max_examples=500)
@given(header_lists, st.booleans(), st.booleans())
def test_a_root_has_the_platforms_ids(headers: Mapping[str, Sequence[str]], trust: bool, sampled: bool) -> None:
    """A dropped span and a recorded one."""
    service = Service(ratio=float(sampled), trust_callers=trust)
    scope = asgi_scope(headers)
    incoming, _ = service.telemetry.propagator.read(scope["headers"])
    if incoming is None or incoming.parent is not None:
        return
    ours = service.serve(scope).get_span_context()
    assert ours.is_valid
    assert not ours.is_remote
    assert (ours.trace_id, ours.trace_flags.random_trace_id, ours.trace_flags.sampled, dict(ours.trace_state)) == (
        incoming.trace_id,
        incoming.random,
        sampled,
        dict(incoming.trace_state or {}),
    )


LINKED = SpanContext(1, 2, is_remote=True)
TOUCHES: dict[str, Callable[[Span], object]] = {
    "set_attribute": lambda span: span.set_attribute("tenant", "blue"),
    "set_attributes": lambda span: span.set_attributes({"tenant": "blue"}),
    "add_event": lambda span: span.add_event("cache miss", {"key": "7"}, 1),
    "add_link": lambda span: span.add_link(LINKED, {"why": "batch"}),
    "set_status": lambda span: span.set_status(Status(StatusCode.ERROR, "half of it")),
    "record_exception": lambda span: span.record_exception(ValueError("no"), {"key": "7"}, 1),
    "update_name": lambda span: span.update_name("checkout"),
    "end": lambda span: span.end(),
    "with": lambda span: span.__exit__(None, None, None),
    "with an exception": lambda span: span.__exit__(ValueError, ValueError("no"), None),
}


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES.keys())
@pytest.mark.parametrize("keep", [False, True], ids=["sampled", "kept for its error"])
def test_what_the_app_writes_is_on_the_span(touch: Callable[[Span], object], keep: bool) -> None:
    ours, official = (Service(ratio=0 if keep else 1, keep_errors=keep) for _ in range(2))
    official.listen()
    status = 500 if keep else 200
    spans = [service.serve(asgi_scope({}), touch, status) for service in (ours, official)]
    for service, span in zip((ours, official), spans, strict=True):
        if not (keep and touch in {TOUCHES["end"], TOUCHES["with"]}):  # it had not failed yet
            (exported,) = service.exported()
            assert exported.context == span.get_span_context()
    assert [told(span) for span in ours.exported()] == [told(span) for span in official.exported()]


def test_what_is_read_is_the_sdks() -> None:
    seen: list[Any] = []

    def read(span: Any) -> None:
        seen.extend([span.name, dict(span.attributes)["url.path"], span.kind, span.is_recording()])
        assert not hasattr(span, "no such thing")

    span: Any = Service().serve(asgi_scope({}), read)
    assert seen == ["GET", "/", trace.SpanKind.SERVER, True]
    assert not span.is_recording()
    untouched: Any = Service().serve(asgi_scope({}))
    assert not untouched.is_recording()
    assert dict(untouched.attributes)["http.response.status_code"] == 200


def test_who_writes_after_the_end_is_told_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    service = Service()
    span = service.serve(asgi_scope({}))
    span.set_attribute("late", "yes")
    span.end()
    (exported,) = service.exported()
    assert "late" not in (exported.attributes or {})
    assert "a span that has ended was written to" in caplog.text


def test_a_child_belongs_to_the_span_whether_it_is_touched_before_or_after() -> None:
    service = Service()
    assert service.telemetry.provider is not None
    tracer = service.telemetry.provider.get_tracer("test")

    def handler(span: Span) -> None:
        around = set_span_in_context(span)
        tracer.start_span("before", around).end()
        span.set_attribute("tenant", "blue")
        tracer.start_span("after", around).end()

    server = service.serve(asgi_scope({}), handler).get_span_context()
    by_name = {span.name: span for span in service.exported()}
    assert by_name["GET"].context == server
    for child in ("before", "after"):
        parent = by_name[child].parent
        assert parent is not None
        assert parent.span_id == server.span_id


def test_a_further_processor_hears_of_every_request_as_it_starts() -> None:
    service = Service()
    listener = service.listen()
    seen: list[int] = []
    span = service.serve(asgi_scope({}), lambda _: seen.append(len(listener.started)))
    assert seen == [1]
    assert listener.started == [span]
    assert isinstance(span, ReadableSpan)


def test_requests_that_are_touched_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracerun.keep.MAX_OPEN", 3)
    service = Service(ratio=0, keep_errors=True)
    for _ in range(5):
        service.serve(asgi_scope({}), TOUCHES["set_attribute"])
        service.serve(asgi_scope({}))
    service.serve(asgi_scope({}), TOUCHES["set_status"])
    assert [span.status.status_code for span in service.exported()] == [StatusCode.ERROR]


def test_the_sdks_own_limits_hold_for_every_span(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "5")
    service = Service()
    service.serve(asgi_scope({}) | {"path": "/0123456789"})
    (span,) = service.exported()
    assert (span.attributes or {})["url.path"] == "/0123"
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "five")
    with caplog.at_level(logging.WARNING):
        service = Service()
    assert "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT" in caplog.text
    service.serve(asgi_scope({}) | {"path": "/0123456789"})
    assert (service.exported()[0].attributes or {})["url.path"] == "/0123456789"
