"""Exports over OTLP/HTTP, by the official exporter."""

from __future__ import annotations

import logging
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import requests
from google.protobuf.message import DecodeError
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace.export import SpanExportResult

from tracerun.otlp import LONGEST_RETRY_AFTER, TIMEOUT, Answer, Outcome
from tracerun.quiet import OncePerMinute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from tracerun.otlp import Export

_FINAL: Final = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
LARGEST_REQUEST: Final = 60 << 20
"""Bytes; the exporter sends no more than 64 MiB."""

_NOISY: Final = (
    "opentelemetry.attributes",
    "opentelemetry.exporter.otlp.proto.common._internal",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
)
"""Loggers with a line for every export or value; what is lost is counted and said by the processor."""


def otlp_http(*, signed: bool) -> Export:
    """Return an export over OTLP/HTTP (default http://localhost:4318); `signed`: with a token of Google's."""
    for name in _NOISY:
        logging.getLogger(name).addFilter(OncePerMinute())
    last: requests.Response | None = None

    def remember(response: requests.Response, *_: Any, **__: Any) -> None:
        nonlocal last
        last = response

    session = _signed_session() if signed else requests.Session()
    session.hooks["response"].append(remember)
    exporter = OTLPSpanExporter(timeout=TIMEOUT, session=session)

    def export(spans: Sequence[ReadableSpan]) -> Answer:
        nonlocal last
        last = None
        success = exporter.export(spans) is SpanExportResult.SUCCESS
        if last is None:  # it never left: the back end is away, or these spans cannot be encoded
            return Answer(Outcome.FAILED) if _can_be_sent(spans) else Answer(Outcome.REFUSED, lost=len(spans))
        if success and last.status_code < HTTPStatus.MULTIPLE_CHOICES:  # a redirect is a success to the exporter
            return Answer(Outcome.DELIVERED, lost=_rejected(last))
        answer = Answer(_outcome(last.status_code), _seconds(last.headers.get("retry-after", "")))
        return replace(answer, lost=len(spans)) if answer.outcome is Outcome.REFUSED else answer

    return export


def _signed_session() -> requests.Session:
    from tracerun.google_credentials import session  # noqa: PLC0415 (40 ms, and only direct export needs it)

    return session()


def _rejected(response: requests.Response) -> int:
    """Return how many spans a back end says it has rejected: https://opentelemetry.io/docs/specs/otlp/#partial-success-1."""
    try:
        message = ExportTraceServiceResponse.FromString(response.content)
    except DecodeError:  # success in no form that OTLP knows
        return 0
    return max(int(message.partial_success.rejected_spans), 0)


def _can_be_sent(spans: Sequence[ReadableSpan]) -> bool:
    try:
        return bool(encode_spans(spans).ByteSize() <= LARGEST_REQUEST)
    except Exception:  # noqa: BLE001 (whatever it is, another try will not help)
        return False


def _outcome(status: int) -> Outcome:
    """Return REFUSED where OTLP says not to send the same data again.

    https://opentelemetry.io/docs/specs/otlp/#failures-1; 401, 403 and 404 heal when access or the address is mended.
    """
    return Outcome.REFUSED if status in _FINAL else Outcome.FAILED


def _seconds(retry_after: str) -> float:
    """Return a Retry-After in seconds; its other form, a date, counts as none: our own pauses serve then."""
    return min(float(retry_after), LONGEST_RETRY_AFTER) if retry_after.isdecimal() else 0.0
