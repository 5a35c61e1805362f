"""The official OTLP exporter, imported when it is first needed and never before (it costs 25 to 50 ms)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol

from tracerun.limits import within_limits
from tracerun.quiet import OncePerMinute

if TYPE_CHECKING:
    from collections.abc import Sequence

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
_EXPORTER_LOG: Final = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


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

    logging.getLogger(_EXPORTER_LOG).addFilter(OncePerMinute())
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
        if exporter.export([within_limits(span) for span in spans]) is SpanExportResult.SUCCESS:
            return Answer(Outcome.DELIVERED)
        if last is None:
            return Answer(Outcome.FAILED)
        return Answer(_outcome(last.status_code), _seconds(last.headers.get("retry-after", "")))

    return export


def _outcome(status: int) -> Outcome:
    """Return REFUSED where OTLP says not to send the same data again.

    https://opentelemetry.io/docs/specs/otlp/#failures-1; 401, 403 and 404 heal when access or the address is mended.
    """
    return Outcome.REFUSED if status in _FINAL else Outcome.FAILED


def _seconds(retry_after: str) -> float:
    """Return a Retry-After in seconds; its other form, a date, counts as none: our own pauses serve then."""
    return min(float(retry_after), LONGEST_RETRY_AFTER) if retry_after.isdecimal() else 0.0
