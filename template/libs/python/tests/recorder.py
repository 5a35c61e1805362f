"""An export that keeps what it is given, and that tests can hold up, fail and count."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from tracerun.otlp import Answer, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan


class Recorder:
    """`hold()` keeps exports waiting until `release()`; `outcomes` are those of the next exports, then DELIVERED."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.batches: list[int] = []
        self.outcomes: deque[Outcome] = deque()
        self.began = threading.Event()
        self._open = threading.Event()
        self._open.set()

    def __call__(self, spans: Sequence[ReadableSpan]) -> Answer:
        self.began.set()
        assert self._open.wait(10), "nobody released the export"
        self.batches.append(len(spans))
        outcome = self.outcomes.popleft() if self.outcomes else Outcome.DELIVERED
        if outcome is Outcome.DELIVERED:
            self.spans.extend(spans)
        return Answer(outcome, lost=len(spans) if outcome is Outcome.REFUSED else 0)

    def hold(self) -> None:
        self._open.clear()
        self.began.clear()

    def release(self) -> None:
        self._open.set()

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]
