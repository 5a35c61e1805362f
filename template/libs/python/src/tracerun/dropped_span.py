"""The span of a request that is not recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from tracerun.trace_ids import PlatformIdGenerator

if TYPE_CHECKING:
    from tracerun.propagation import Incoming

_RANDOM: Final = TraceFlags(TraceFlags.RANDOM_TRACE_ID)
_NO_FLAGS: Final = TraceFlags(TraceFlags.DEFAULT)
_generator: Final = PlatformIdGenerator()


class DroppedSpan(NonRecordingSpan):
    """What the SDK makes of a request whose span its sampler drops; the ids are made when somebody asks for them."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._made: SpanContext | None = None

    def get_span_context(self) -> SpanContext:
        """Return the ids, which are not sampled."""
        if self._made is None:
            incoming, parent = self._incoming, self._incoming.parent
            random = incoming.random if parent is None else parent.trace_flags.random_trace_id
            self._made = SpanContext(
                incoming.trace_id,
                _generator.generate_span_id(),
                is_remote=False,
                trace_flags=_RANDOM if random else _NO_FLAGS,
                trace_state=incoming.trace_state,
            )
        return self._made

    def __repr__(self) -> str:
        """Return the ids in words."""
        return f"DroppedSpan({self.get_span_context()!r})"
