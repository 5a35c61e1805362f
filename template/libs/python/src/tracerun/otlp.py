"""The official OTLP exporter, imported when it is first needed and never before (it costs 25 to 50 ms)."""

from __future__ import annotations

import logging
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

_EXPORTER_LOG: Final = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


class Outcome(Enum):
    """What became of an export."""

    DELIVERED = auto()
    FAILED = auto()
    """Worth another try."""
    REFUSED = auto()
    """The back end will never take these spans."""


class Export(Protocol):
    """Sends spans and says what became of them; blocks."""

    def __call__(self, spans: Sequence[ReadableSpan]) -> Outcome:
        """Send `spans`."""
        ...


def otlp_http() -> Export:
    """Return an export to `OTEL_EXPORTER_OTLP_ENDPOINT` (default http://localhost:4318) over OTLP/HTTP."""
    import requests  # noqa: PLC0415 (see the module's docstring)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import SpanExportResult  # noqa: PLC0415

    logging.getLogger(_EXPORTER_LOG).addFilter(OncePerMinute())
    last_status: int | None = None

    def remember_status(response: requests.Response, *_: Any, **__: Any) -> None:
        nonlocal last_status
        last_status = response.status_code

    session = requests.Session()
    session.hooks["response"].append(remember_status)
    exporter = OTLPSpanExporter(timeout=TIMEOUT, session=session)

    def export(spans: Sequence[ReadableSpan]) -> Outcome:
        nonlocal last_status
        last_status = None
        if exporter.export([within_limits(span) for span in spans]) is SpanExportResult.SUCCESS:
            return Outcome.DELIVERED
        return Outcome.REFUSED if _is_final(last_status) else Outcome.FAILED

    return export


def _is_final(status: int | None) -> bool:
    """Tell whether OTLP says not to send the same data again.

    https://opentelemetry.io/docs/specs/otlp/#failures-1; 401, 403 and 404 heal when access or the address is mended.
    """
    return status in {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
