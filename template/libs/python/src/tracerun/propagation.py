"""Trace headers, in and out.

Cloud Run's front end keeps the trace id of `traceparent` and replaces its parent span id
(https://github.com/elastic/apm/issues/609), so callers send a second copy, `original-traceparent`, which passes
untouched. A service that trusts its callers takes the parent from the copy, if both name the same trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

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
    from collections.abc import Iterable, Mapping

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

_READ: Final = {name.encode(): name for name in READ_HEADERS}
_SET_LIMITS: Final = frozenset({REQUEST_TIMEOUT.encode(), REQUEST_ATTEMPT.encode()})
_RARE: Final = frozenset({TRACESTATE.encode(), BAGGAGE.encode()})
_HEX: Final = b"0123456789abcdef"

# Sampled (bit 0) and random (bit 1) are all that W3C Trace Context level 2 defines; senders may set others.
_SAMPLED: Final = int(TraceFlags.SAMPLED)
_RANDOM: Final = int(TraceFlags.RANDOM_TRACE_ID)
_KNOWN_FLAGS: Final = _SAMPLED | _RANDOM

_LONGEST_CLOUD_TRACE: Final = 80

_INCOMING: Final = create_key("tracerun-incoming")
_NOTHING: Final = Context()
_w3c: Final = TraceContextTextMapPropagator()
_cloud: Final = CloudTraceOneWayPropagator()
_baggage: Final = W3CBaggagePropagator()


class Incoming(NamedTuple):
    """What the headers of one request say, made safe."""

    trace_id: int
    """The platform's trace id, 128 bits, never 0."""
    random: bool
    """Whether the sender says that the trace id's low 56 bits are random."""
    trusted: bool
    """The parent is a span of a trusted caller, whose sampling decision counts."""
    trace_state: TraceState | None
    """The sender's tracestate, handed on unchanged."""
    parent: SpanContext | None
    """The span that caused the request, if it is one that can be seen where the trace is read."""

    def put_into(self, context: Context) -> Context:
        """Return `context` with all this, for a sampler, and with the parent as its current span."""
        context = set_value(_INCOMING, self, context)
        return context if self.parent is None else set_span_in_context(NonRecordingSpan(self.parent), context)


def incoming_in(context: Context | None) -> Incoming | None:
    """Return what `Incoming.put_into` left in `context`, if it did."""
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
        incoming = self._incoming(carrier, getter)
        context = self._with_what_callers_say(context, carrier, getter, baggage=incoming is not None)
        return context if incoming is None else incoming.put_into(context)

    def read(self, headers: Iterable[tuple[bytes, bytes]]) -> tuple[Incoming | None, Context]:
        """Return what the headers of an ASGI request say, and a context with a trusted caller's baggage and limits.

        It is what `extract` finds, which asks OpenTelemetry's propagators; a plain `traceparent`, which is nearly all
        there is, is read without them in a fraction of the time.
        """
        headers = headers if isinstance(headers, list) else list(headers)
        found = dict(headers)
        if len(found) < len(headers) or not _RARE.isdisjoint(found):
            return self._read_any(headers)
        platform = _version_0(found.get(b"traceparent"))
        original = found.get(b"original-traceparent") if self._trust_callers else None
        copy = None if original is None else _version_0(original)
        if platform is None or (original is not None and copy is None):
            return self._read_any(headers)
        trace_id, _, flags = platform
        trusted = copy is not None and copy[0] == trace_id
        ids = copy if trusted else platform if self._google_backend and flags & _SAMPLED else None
        parent = None if ids is None else _remote(*ids)
        context = _NOTHING
        if self._trust_callers and not _SET_LIMITS.isdisjoint(found):
            carrier = {_READ[name]: [found[name].decode("latin-1")] for name in _SET_LIMITS if name in found}
            context = with_limits(context, carrier, raw_headers)
        return Incoming(trace_id, flags & _RANDOM != 0, trusted, None, parent), context

    def _read_any(self, headers: Iterable[tuple[bytes, bytes]]) -> tuple[Incoming | None, Context]:
        carrier: dict[str, list[str]] = {}
        for name, value in headers:
            if name in _READ:
                carrier.setdefault(_READ[name], []).append(value.decode("latin-1"))
        if not carrier:
            return None, _NOTHING
        incoming = self._incoming(carrier, raw_headers)
        return incoming, self._with_what_callers_say(_NOTHING, carrier, raw_headers, baggage=incoming is not None)

    def _incoming(self, carrier: CarrierT, getter: Getter[CarrierT]) -> Incoming | None:
        platform = _platform_context(carrier, getter)
        if platform is None:
            return None
        parent = _original_parent(carrier, getter, platform) if self._trust_callers else None
        trusted = parent is not None
        if parent is None and self._google_backend and platform.trace_flags.sampled:
            parent = platform
        random = platform.trace_flags.random_trace_id
        return Incoming(platform.trace_id, random, trusted, platform.trace_state, parent)

    def _with_what_callers_say(
        self, context: Context, carrier: CarrierT, getter: Getter[CarrierT], *, baggage: bool
    ) -> Context:
        if not self._trust_callers:
            return context
        context = with_limits(context, carrier, getter)
        return _baggage.extract(carrier, context, getter) if baggage else context

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


def _version_0(value: bytes | None) -> tuple[int, int, int] | None:
    """Return the ids and the known flags of a well-formed `traceparent` of version 00, None for anything else."""
    if value is None or value.translate(None, _HEX) != b"---":
        return None
    version, trace, span, flags = value.split(b"-")
    if version != b"00" or (len(trace), len(span), len(flags)) != (32, 16, 2):
        return None
    trace_id, span_id = int(trace, 16), int(span, 16)
    return (trace_id, span_id, int(flags, 16) & _KNOWN_FLAGS) if trace_id and span_id else None


def _remote(trace_id: int, span_id: int, flags: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))


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
