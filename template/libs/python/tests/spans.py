"""Spans made by hand."""

from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext


def span(name: str, **attributes: Any) -> ReadableSpan:
    return ReadableSpan(name, SpanContext(1, 1, is_remote=False), attributes=attributes)
