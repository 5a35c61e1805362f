"""The bounded queue of ended spans, and the bounded batches that leave it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from tracerun.limits import REQUEST_ATTRIBUTES, attribute_count

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

CAPACITY: Final = 4096
"""Spans that wait at most: at the usual 1 to 2 KiB a span, 4 to 8 MiB."""
BATCH: Final = 512
"""Spans in one export at most, as in all published samples for the Telemetry API."""


class SpanQueue:
    """First in, first out. `offer` may be called from any thread, all else from the event loop's only."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._spans: deque[ReadableSpan] = deque()

    def __len__(self) -> int:
        return len(self._spans)

    def offer(self, span: ReadableSpan) -> bool:
        """Append `span` and return True, or return False when the queue is full."""
        if len(self._spans) >= self._capacity:
            return False
        self._spans.append(span)
        return True

    def take(self) -> list[ReadableSpan]:
        """Remove and return the oldest spans: at most `BATCH`, with at most `REQUEST_ATTRIBUTES` attributes."""
        batch: list[ReadableSpan] = []
        room = REQUEST_ATTRIBUTES
        while self._spans and len(batch) < BATCH:
            span = self._spans[0]
            if not batch:
                room -= len(span.resource.attributes)
            room -= attribute_count(span)
            if batch and room < 0:
                break
            batch.append(self._spans.popleft())
        return batch

    def put_back(self, batch: list[ReadableSpan]) -> None:
        """Put spans that were not delivered back to the front, in their order."""
        self._spans.extendleft(reversed(batch))
