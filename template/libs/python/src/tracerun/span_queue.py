"""The bounded queue of ended spans, and the bounded batches that leave it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from tracerun.limits import REQUEST_ATTRIBUTES, weight

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

CAPACITY: Final = 4096
"""Spans that wait at most."""
CAPACITY_BYTES: Final = 32 << 20
"""About how many bytes they take at most; the smallest Cloud Run container has 512 MiB."""
BATCH: Final = 512
"""Spans in one export at most, as in all published samples for the Telemetry API."""
BATCH_BYTES: Final = 4 << 20
"""About how many bytes one export has at most."""


class SpanQueue:
    """First in, first out. `offer` may be called from any thread, all else from the event loop's only."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._spans: deque[tuple[ReadableSpan, int, int]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._spans)

    def offer(self, span: ReadableSpan) -> bool:
        """Append `span` and return True, or return False when the queue is full."""
        size, attributes = weight(span)
        if len(self._spans) >= self._capacity or self._bytes + size > CAPACITY_BYTES:
            return False
        self._spans.append((span, size, attributes))
        self._bytes += size
        return True

    def take(self) -> list[ReadableSpan]:
        """Remove and return the oldest spans: at most `BATCH`, with at most `REQUEST_ATTRIBUTES` attributes."""
        batch: list[ReadableSpan] = []
        attributes, size = REQUEST_ATTRIBUTES, BATCH_BYTES
        while self._spans and len(batch) < BATCH:
            span, span_size, span_attributes = self._spans[0]
            if not batch:
                attributes -= len(span.resource.attributes)
            attributes -= span_attributes
            size -= span_size
            if batch and (attributes < 0 or size < 0):
                break
            self._spans.popleft()
            self._bytes -= span_size
            batch.append(span)
        return batch

    def put_back(self, batch: Sequence[ReadableSpan]) -> None:
        """Put spans that were not delivered back to the front, in their order."""
        for span in reversed(batch):
            size, attributes = weight(span)
            self._spans.appendleft((span, size, attributes))
            self._bytes += size
