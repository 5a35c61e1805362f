"""The one thread in which exports block."""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value

from tracerun.otlp import Answer, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from tracerun.otlp import Export

_log = logging.getLogger(__name__)


class ExportThread:
    """Makes the export on its first start, in the thread, then runs exports one after the other."""

    def __init__(self, make_export: Callable[[], Export]) -> None:
        self._make_export = make_export
        self._export: Export | None = None
        self._work: queue.SimpleQueue[tuple[Sequence[ReadableSpan], Callable[[Answer], None]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the thread, so that the import of the exporter does not wait for the first span."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tracerun-export", daemon=True)
            self._thread.start()

    def submit(self, spans: Sequence[ReadableSpan], done: Callable[[Answer], None]) -> None:
        """Export `spans` in the thread, which then calls `done`."""
        self._work.put((spans, done))
        self.start()

    def export_here(self, spans: Sequence[ReadableSpan]) -> Answer:
        """Export in the calling thread; blocks at most the exporter's time-out. Never raises."""
        # Otherwise an instrumented HTTP client would trace each export, and the export of that span, for ever.
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, value=True))
        try:
            with self._lock:
                if self._export is None:
                    self._export = self._make_export()
                return self._export(spans)
        except Exception:  # noqa: BLE001 (no export failure may reach a request)
            _log.exception("the exporter failed in a way it should not; its spans are tried again")
            return Answer(Outcome.FAILED)

    def _run(self) -> None:
        self._warm_up()
        while True:
            spans, done = self._work.get()
            done(self.export_here(spans))

    def _warm_up(self) -> None:
        with self._lock:
            if self._export is None:
                try:
                    self._export = self._make_export()
                except Exception:  # noqa: BLE001 (no export failure may reach a request)
                    _log.exception("the exporter cannot be made; it is tried again at each export")
