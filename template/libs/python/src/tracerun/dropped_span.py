"""The span of a request that is not recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.trace import NonRecordingSpan

from tracerun import trace_ids

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from tracerun.propagation import Incoming


class DroppedSpan(NonRecordingSpan):
    """What the SDK makes of a request whose span its sampler drops; the ids are made when somebody asks for them."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._made: SpanContext | None = None

    def get_span_context(self) -> SpanContext:
        """Return the ids, which are not sampled."""
        if self._made is None:
            self._made = trace_ids.for_request(self._incoming, sampled=False)
        return self._made

    def __repr__(self) -> str:
        """Return the ids in words."""
        return f"DroppedSpan({self.get_span_context()!r})"
