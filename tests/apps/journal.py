"""Writes the id of every sampled span that starts to the file `JOURNAL`, so that tests know what must arrive."""

import os

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider


class Journal(SpanProcessor):
    def __init__(self, path):
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def on_start(self, span, parent_context=None):
        if span.context.trace_flags.sampled:
            os.write(self._file, f"{span.context.span_id:016x}\n".encode())


def keep_journal():
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider) and "JOURNAL" in os.environ:
        provider.add_span_processor(Journal(os.environ["JOURNAL"]))
