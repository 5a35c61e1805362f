"""The one thread in which exports block."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from typing import TYPE_CHECKING

from tracerun.otlp import Answer, Outcome
from tracerun.quiet import once_per_minute
from tracerun.untraced import untraced

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from tracerun.otlp import Export

_log = logging.getLogger(__name__)
once_per_minute(__name__)


class ExportThread:
    """Makes the export on its first start, in the thread, then runs exports one after the other."""

    def __init__(self, make_export: Callable[[], Export]) -> None:
        self._make_export = make_export
        self._export: Export | None = None
        self.ready_since = math.inf
        """When the exporter was made, by `time.monotonic`."""
        self._work: queue.SimpleQueue[tuple[Sequence[ReadableSpan], Callable[[Answer], None]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._idle = threading.Event()
        self._idle.set()

    def start(self) -> None:
        """Start the thread, so that the import of the exporter does not wait for the first span."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tracerun-export", daemon=True)
            self._thread.start()

    def submit(self, spans: Sequence[ReadableSpan], done: Callable[[Answer], None]) -> None:
        """Export `spans` in the thread, which then calls `done`."""
        self._idle.clear()
        self._work.put((spans, done))
        self.start()

    def wait_until_idle(self, seconds: float) -> bool:
        """Return True once nothing that was submitted is on its way any more, False after `seconds`."""
        return self._idle.wait(seconds)

    def export_here(self, spans: Sequence[ReadableSpan]) -> Answer:
        """Export in the calling thread; blocks at most the exporter's time-out. Never raises."""
        try:
            with untraced():
                return self._made()(spans)
        except Exception as error:  # noqa: BLE001 (no export failure may reach a request)
            self._say("an export failed and is tried again", error)
            return Answer(Outcome.FAILED)

    def _made(self) -> Export:
        with self._lock:
            if self._export is None:
                self._export = self._make_export()
                self.ready_since = time.monotonic()
            return self._export

    def _say(self, what: str, error: Exception) -> None:
        text = " ".join(str(error).split())
        _log.warning("%s: %s: %s", what, type(error).__name__, text, exc_info=_log.isEnabledFor(logging.DEBUG))

    def _run(self) -> None:
        try:
            with untraced():
                self._made()
        except Exception as error:  # noqa: BLE001 (no export failure may reach a request)
            self._say("the exporter cannot be made, each export tries again", error)
        while True:
            spans, done = self._work.get()
            answer = self.export_here(spans)
            done(answer)
            self._idle.set()
