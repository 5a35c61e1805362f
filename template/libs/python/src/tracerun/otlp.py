"""The official OTLP exporter, imported when it is first needed and never before (it costs 25 to 50 ms)."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol

from tracerun.limits import within_limits
from tracerun.quiet import OncePerMinute

if TYPE_CHECKING:
    from collections.abc import Sequence

    import requests
    from opentelemetry.sdk.trace import ReadableSpan

TIMEOUT: Final = 0.75
"""Seconds for one export. Below the exporter's first back-off of 1 s, so it never retries: the processor does."""

LONGEST_RETRY_AFTER: Final = 60.0
"""Seconds; a back end that asks for more is asked again after these."""

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


class Outcome(Enum):
    """What became of an export."""

    DELIVERED = auto()
    FAILED = auto()
    """Worth another try."""
    REFUSED = auto()
    """The back end will never take these spans."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the back end said to an export."""

    outcome: Outcome
    retry_after: float = 0.0
    """Seconds for which it asked to be left alone."""
    lost: int = 0
    """Spans of a delivered or refused export that it did not take."""


class Export(Protocol):
    """Sends spans and says what became of them; blocks."""

    def __call__(self, spans: Sequence[ReadableSpan]) -> Answer:
        """Send `spans`."""
        ...


def otlp_http() -> Export:
    """Return an export to `OTEL_EXPORTER_OTLP_ENDPOINT` (default http://localhost:4318) over OTLP/HTTP."""
    import requests  # noqa: PLC0415 (see the module's docstring)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import SpanExportResult  # noqa: PLC0415

    for name in _NOISY:
        logging.getLogger(name).addFilter(OncePerMinute())
    last: requests.Response | None = None

    def remember(response: requests.Response, *_: Any, **__: Any) -> None:
        nonlocal last
        last = response

    session = requests.Session()
    session.hooks["response"].append(remember)
    exporter = OTLPSpanExporter(timeout=TIMEOUT, session=session)

    def export(spans: Sequence[ReadableSpan]) -> Answer:
        nonlocal last
        last = None
        if exporter.export(spans) is SpanExportResult.SUCCESS:
            return Answer(Outcome.DELIVERED, lost=_rejected(last))
        if last is None:  # it never left: the back end is away, or these spans cannot be encoded
            return Answer(Outcome.FAILED) if _can_be_sent(spans) else Answer(Outcome.REFUSED, lost=len(spans))
        answer = Answer(_outcome(last.status_code), _seconds(last.headers.get("retry-after", "")))
        return replace(answer, lost=len(spans)) if answer.outcome is Outcome.REFUSED else answer

    return lambda spans: saving_the_others(export, [within_limits(span) for span in spans])


def saving_the_others(export: Export, spans: Sequence[ReadableSpan]) -> Answer:
    """Export `spans`; if they are refused, look for the ones at fault by halving, and deliver the others.

    Where both halves are refused it is not about single spans, and all are lost.
    """
    answer = export(spans)
    return _without_the_refused(export, spans) or answer if answer.outcome is Outcome.REFUSED else answer


def _without_the_refused(export: Export, refused: Sequence[ReadableSpan]) -> Answer | None:
    """Deliver what can be of spans that were refused together; None where that is nothing."""
    if len(refused) == 1:
        return None
    half = len(refused) // 2
    parts = (refused[:half], refused[half:])
    answers = [export(part) for part in parts]
    if all(answer.outcome is Outcome.REFUSED for answer in answers):
        return None
    lost = 0
    for part, answer in zip(parts, answers, strict=True):
        saved = _without_the_refused(export, part) if answer.outcome is Outcome.REFUSED else None
        lost += len(part) if answer.outcome is Outcome.FAILED else (saved or answer).lost
    return Answer(Outcome.DELIVERED, lost=lost)


def _rejected(response: requests.Response | None) -> int:
    """Return how many spans a back end says it has rejected: https://opentelemetry.io/docs/specs/otlp/#partial-success-1."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415 (see the module's docstring)
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse  # noqa: PLC0415

    try:
        message = ExportTraceServiceResponse.FromString(response.content if response is not None else b"")
    except DecodeError:  # success in no form that OTLP knows
        return 0
    return max(int(message.partial_success.rejected_spans), 0)


def _can_be_sent(spans: Sequence[ReadableSpan]) -> bool:
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans  # noqa: PLC0415

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
