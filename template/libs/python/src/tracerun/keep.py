"""Keeps failed and slow traces at any ratio.

The sampler records what it does not keep; those spans are held here until the first span of their trace in this process
ends, and go on to the exporter only if one of them failed or the first one was slow. A caller of another service sees
the failure too and keeps its own part, so a failing synchronous path is kept from the root to the error; callees that
answered well keep their own decision.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import StatusCode, get_current_span

from tracerun.quiet import Tally
from tracerun.token_bucket import TokenBucket

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span
    from opentelemetry.trace import SpanContext

    from tracerun.flush import FlushProcessor

_log = logging.getLogger(__name__)

MAX_HELD: Final = 4096
"""Spans held at most, of all traces; as many as may wait for export."""
MAX_OPEN: Final = 4096
"""Spans that have started and not ended, of traces that are not kept; more are not considered."""
MAX_KEPT_ROOTS: Final = 1024
_NS_PER_SECOND: Final = 1_000_000_000


class _Held:
    """The spans of one local trace."""

    __slots__ = ("failed", "first", "kept", "missing", "spans")

    def __init__(self, first: int) -> None:
        self.first = first
        """Id of the span that started first; its end decides."""
        self.spans: list[ReadableSpan] = []
        self.failed = False
        self.missing = 0
        """Spans that were not held for want of room."""
        self.kept: bool | None = None


class KeepProcessor(SpanProcessor):
    """Passes sampled spans on to `flush`, and of the others those that are worth keeping. Threads may share it."""

    def __init__(
        self, flush: FlushProcessor, *, errors: bool, slower_than: float, max_traces_per_second: float
    ) -> None:
        """`slower_than` is in seconds, 0: slowness keeps nothing. The bound is apart from that of the sampler."""
        self._flush = flush
        self._errors = errors
        self._slower_than = round(slower_than * _NS_PER_SECOND)
        self._bucket = TokenBucket(max_traces_per_second)
        self._open: dict[int, _Held] = {}
        self._held = 0
        self._kept_roots: dict[int, None] = {}
        self._too_many = Tally(_log, "%d failed or slow traces were not kept: more than max_traces_per_second")

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Join the span to its local trace."""
        self._flush.on_start(span, parent_context)
        context = span.context
        if not context.trace_flags.sampled and context.span_id not in self._open:
            self.join(context.span_id, get_current_span(parent_context).get_span_context())

    def join(self, span_id: int, parent: SpanContext | None) -> None:
        """Take a span that is recorded and not sampled into the local trace of its parent, or a new one."""
        if len(self._open) < MAX_OPEN:
            held = None if parent is None else self._open.get(parent.span_id)
            self._open[span_id] = _Held(span_id) if held is None else held

    def on_end(self, span: ReadableSpan) -> None:
        """Pass the span on, hold it, or decide about its local trace."""
        context = span.context
        if context is None:
            return
        if context.trace_flags.sampled:
            self._flush.deliver(span)
            return
        held = self._open.pop(context.span_id, None)
        if held is None:
            return
        if held.kept is not None:
            if held.kept:
                self._flush.deliver(span)
            return
        held.failed = held.failed or span.status.status_code is StatusCode.ERROR
        if context.span_id == held.first:
            self._decide(held, span)
        elif self._held < MAX_HELD:
            held.spans.append(span)
            self._held += 1
        else:
            held.missing += 1

    def _decide(self, held: _Held, first: ReadableSpan) -> None:
        self._held -= len(held.spans)
        worth = (self._errors and held.failed) or self._is_slow(first)
        held.kept = worth and self._bucket.take()
        if held.kept:
            for span in held.spans:
                self._flush.deliver(span)
            self._flush.deliver(first)
            self._flush.lost.add(held.missing)
            self._remember(held.first)
        elif worth:
            self._too_many.add(1)
        held.spans = []

    def _is_slow(self, span: ReadableSpan) -> bool:
        if not self._slower_than or span.start_time is None or span.end_time is None:
            return False
        return span.end_time - span.start_time > self._slower_than

    def _remember(self, span_id: int) -> None:
        if len(self._kept_roots) >= MAX_KEPT_ROOTS:
            self._kept_roots.pop(next(iter(self._kept_roots)), None)
        self._kept_roots[span_id] = None

    def was_kept(self, span_id: int) -> bool:
        """Tell, once, whether the unsampled local trace that began with the span `span_id` was kept in the end."""
        return self._kept_roots.pop(span_id, self) is None

    def shutdown(self) -> None:
        """Deliver what is queued."""
        self._flush.shutdown()

    def force_flush(self, timeout_millis: int = 3000) -> bool:
        """Deliver what is queued; see `FlushProcessor.force_flush`."""
        return self._flush.force_flush(timeout_millis)
