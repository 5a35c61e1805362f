"""Log lines as Cloud Logging reads them, joined to the trace.

One JSON object a line: https://cloud.google.com/logging/docs/structured-logging. The trace id stands bare, the form
that is preferred now: https://docs.cloud.google.com/trace/docs/trace-log-integration.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from opentelemetry.trace import SpanContext, format_span_id, format_trace_id, get_current_span

TRACE: Final = "logging.googleapis.com/trace"
SPAN_ID: Final = "logging.googleapis.com/spanId"
TRACE_SAMPLED: Final = "logging.googleapis.com/trace_sampled"
HTTP_REQUEST: Final = "httpRequest"

_SEVERITIES: Final = (
    (logging.CRITICAL, "CRITICAL"),
    (logging.ERROR, "ERROR"),
    (logging.WARNING, "WARNING"),
    (logging.INFO, "INFO"),
    (logging.DEBUG, "DEBUG"),
)
_OWN: Final = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "color_message"})
"""Attributes that every record has, or that a library adds for terminals: what else a record has, the caller gave."""
_FIXED: Final = frozenset({"severity", "message", "time", "logger", TRACE, SPAN_ID, TRACE_SAMPLED})


class CloudLoggingFormatter(logging.Formatter):
    """Formats a record as one line of JSON.

    A stack trace stands in `message`, the form that Error Reporting groups:
    https://cloud.google.com/error-reporting/docs/formatting-error-messages.
    What a caller gives as `extra` becomes a field. `trace_sampled` is the decision at that moment, unless the record
    says better by `extra={TRACE_SAMPLED: …}`; the span is the current one, unless the record has a `span_context`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        if record.stack_info:
            message = f"{message}\n{self.formatStack(record.stack_info)}"
        given = {name: value for name, value in vars(record).items() if name not in _OWN}
        span = given.pop("span_context", None)
        sampled = given.pop(TRACE_SAMPLED, None)
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
        entry: dict[str, Any] = {
            "severity": severity(record.levelno),
            "message": message,
            "time": time.replace("+00:00", "Z"),
            "logger": record.name,
            **{name: value for name, value in given.items() if name not in _FIXED},
        }
        context = span if isinstance(span, SpanContext) else get_current_span().get_span_context()
        if context.is_valid:
            entry[TRACE] = format_trace_id(context.trace_id)
            entry[SPAN_ID] = format_span_id(context.span_id)
            entry[TRACE_SAMPLED] = context.trace_flags.sampled if sampled is None else bool(sampled)
        return json.dumps(entry, default=repr, ensure_ascii=False)


def severity(level: int) -> str:
    """Return the severity of Cloud Logging for a level of Python's."""
    return next((name for least, name in _SEVERITIES if level >= least), "DEFAULT")


def configure(stream: TextIO | None = None) -> None:
    """Send all log records of the process to `stream` (default: standard output).

    As JSON, or as text if that is a terminal. Does nothing when the root logger has a handler: its owner has decided.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    output = sys.stdout if stream is None else stream
    handler = logging.StreamHandler(output)
    if not output.isatty():
        handler.setFormatter(CloudLoggingFormatter())
    root.addHandler(handler)
    # Its line for each request has the whole URL, with the query; the CLIENT span tells the rest.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    root.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
