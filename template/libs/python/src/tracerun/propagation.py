"""Trace headers, in and out.

Cloud Run's front end keeps the trace id of `traceparent` and replaces its parent span id
(https://github.com/elastic/apm/issues/609), so callers send a second copy, `original-traceparent`, which passes
untouched. A service that trusts its callers takes the parent from the copy, if both name the same trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, create_key, get_value, set_value
from opentelemetry.propagators.cloud_trace_propagator import CloudTraceOneWayPropagator
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tracerun.caller_limits import REQUEST_ATTEMPT, REQUEST_TIMEOUT, with_limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import TraceState

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
ORIGINAL_TRACEPARENT: Final = "original-traceparent"
X_CLOUD_TRACE_CONTEXT: Final = "x-cloud-trace-context"
BAGGAGE: Final = "baggage"

READ_HEADERS: Final = frozenset(
    {
        TRACEPARENT,
        TRACESTATE,
        ORIGINAL_TRACEPARENT,
        X_CLOUD_TRACE_CONTEXT,
        BAGGAGE,
        REQUEST_TIMEOUT,
        REQUEST_ATTEMPT,
    }
)
"""Names of the headers that `TracePropagator` reads."""

# Sampled (bit 0) and random (bit 1) are all that W3C Trace Context level 2 defines; senders may set others.
_KNOWN_FLAGS: Final = 0x03

_LONGEST_CLOUD_TRACE: Final = 80

_INCOMING: Final = create_key("tracerun-incoming")
_w3c: Final = TraceContextTextMapPropagator()
_cloud: Final = CloudTraceOneWayPropagator()
_baggage: Final = W3CBaggagePropagator()


@dataclass(frozen=True, slots=True)
class Incoming:
    """What the headers of one request say, made safe."""

    trace_id: int
    """The platform's trace id, 128 bits, never 0."""
    random: bool
    """Whether the sender says that the trace id's low 56 bits are random."""
    trusted: bool
    """The parent is a span of a trusted caller, whose sampling decision counts."""
    trace_state: TraceState | None
    """The sender's tracestate, handed on unchanged."""


def incoming_in(context: Context | None) -> Incoming | None:
    """Return what `TracePropagator.extract` left in `context`, if it was used."""
    value = get_value(_INCOMING, context)
    return value if isinstance(value, Incoming) else None


class TracePropagator(TextMapPropagator):
    """Reads and writes the trace headers of this system.

    In: `traceparent` first, `X-Cloud-Trace-Context` when it is absent or malformed. The parent is the trusted caller's
    span; else the platform's, if its span exists where the trace is read (a Google back end, and the sampled flag set:
    a parent that was never stored shows as "missing span"); else none, and the next span is a root in the platform's
    trace id. Baggage and limits are read from trusted callers only.
    Out: `traceparent`, its copy `original-traceparent`, `tracestate`, `baggage`.
    """

    def __init__(self, *, trust_callers: bool, google_backend: bool) -> None:
        self._trust_callers = trust_callers
        self._google_backend = google_backend

    def extract(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        getter: Getter[CarrierT] = default_getter,
    ) -> Context:
        """Return `context` with the remote parent, if there is one, and an `Incoming`. Never raises on any header."""
        context = Context() if context is None else context
        if self._trust_callers:
            context = with_limits(context, carrier, getter)
        platform = _platform_context(carrier, getter)
        if platform is None:
            return context
        original = _original_parent(carrier, getter, platform) if self._trust_callers else None
        incoming = Incoming(
            platform.trace_id,
            platform.trace_flags.random_trace_id,
            original is not None,
            platform.trace_state,
        )
        context = set_value(_INCOMING, incoming, context)
        if self._trust_callers:
            context = _baggage.extract(carrier, context, getter)
        parent = original
        if parent is None and self._google_backend and platform.trace_flags.sampled:
            parent = platform
        return context if parent is None else set_span_in_context(NonRecordingSpan(parent), context)

    def inject(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        setter: Setter[CarrierT] = default_setter,
    ) -> None:
        """Write the current span of `context` to `carrier`, all names in lower case; nothing without a span."""
        written: dict[str, str] = {}
        _w3c.inject(written, context)
        if TRACEPARENT in written:
            written[ORIGINAL_TRACEPARENT] = written[TRACEPARENT]
        _baggage.inject(written, context)
        for name, value in written.items():
            setter.set(carrier, name, value)

    @property
    def fields(self) -> set[str]:
        """Names of the headers that `inject` may write."""
        return {TRACEPARENT, TRACESTATE, ORIGINAL_TRACEPARENT, BAGGAGE}


def _platform_context(carrier: CarrierT, getter: Getter[CarrierT]) -> SpanContext | None:
    # A repeated traceparent says two things at once: https://www.w3.org/TR/trace-context/#traceparent-header
    if len(getter.get(carrier, TRACEPARENT) or ()) <= 1:
        found = _remote_span(_w3c.extract(carrier, Context(), getter))
        if found is not None:
            return found
    # The longest well-formed value is shorter; the propagator would try to read a flag of any length as a number.
    legacy = getter.get(carrier, X_CLOUD_TRACE_CONTEXT)
    if not legacy or len(legacy) > 1 or len(legacy[0]) > _LONGEST_CLOUD_TRACE:
        return None
    return _remote_span(_cloud.extract({X_CLOUD_TRACE_CONTEXT: legacy[0]}, Context()))


def _original_parent(carrier: CarrierT, getter: Getter[CarrierT], platform: SpanContext) -> SpanContext | None:
    values = getter.get(carrier, ORIGINAL_TRACEPARENT)
    if not values or len(values) > 1:
        return None
    original = _remote_span(_w3c.extract({TRACEPARENT: values[0]}, Context()))
    if original is None or original.trace_id != platform.trace_id:
        return None
    return SpanContext(
        original.trace_id,
        original.span_id,
        is_remote=True,
        trace_flags=original.trace_flags,
        trace_state=platform.trace_state,
    )


def _remote_span(context: Context) -> SpanContext | None:
    found = get_current_span(context).get_span_context()
    if not found.is_valid:
        return None
    if found.is_remote and not found.trace_flags & ~_KNOWN_FLAGS:
        return found
    return SpanContext(
        found.trace_id,
        found.span_id,
        is_remote=True,
        trace_flags=TraceFlags(found.trace_flags & _KNOWN_FLAGS),
        trace_state=found.trace_state,
    )


class RawHeaders(Getter["Mapping[str, list[str]]"]):
    """Reads trace headers from a mapping of lower-case names to all their values."""

    def get(self, carrier: Mapping[str, list[str]], key: str) -> list[str] | None:
        """Return all values of the header `key`, or None."""
        return carrier.get(key)

    def keys(self, carrier: Mapping[str, list[str]]) -> list[str]:
        """Return the names that are there."""
        return list(carrier)


raw_headers: Final = RawHeaders()
