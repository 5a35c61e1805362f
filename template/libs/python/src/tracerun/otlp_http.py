"""Exports over OTLP/HTTP, by the official exporter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import requests
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExportResult
from requests.adapters import HTTPAdapter

from tracerun.limits import within_limits
from tracerun.otlp import TIMEOUT, Answer, Outcome, answer_of
from tracerun.quiet import once_per_minute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from tracerun.otlp import Export

LARGEST_REQUEST: Final = 60 << 20
"""Bytes; the exporter sends no more than 64 MiB."""

_NOISY: Final = (
    "opentelemetry.attributes",
    "opentelemetry.exporter.otlp.proto.common._internal",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
)
"""Loggers with a line for every export or value; what is lost is counted and said by the processor."""


_NO_RETRIES: Final = 0.75
"""Seconds that the exporter is told it has. Its first back-off is 1 s, so it never retries: the processor does."""


class _WithTimeout(HTTPAdapter):
    """Gives every request `timeout` seconds, whatever its sender says."""

    def __init__(self, timeout: float) -> None:
        super().__init__()
        self._timeout = timeout

    def send(self, request: requests.PreparedRequest, *_: Any, **options: Any) -> requests.Response:
        return super().send(request, **{**options, "timeout": self._timeout})


def otlp_http(*, signed: bool, timeout: float = TIMEOUT) -> Export:
    """Return an export over OTLP/HTTP (default http://localhost:4318); `signed`: with a token of Google's.

    `timeout` is in seconds.
    """
    once_per_minute(*_NOISY)
    last: requests.Response | None = None
    pause = ""

    def remember(response: requests.Response, *_: Any, **__: Any) -> None:
        nonlocal last, pause
        # The exporter would not see that it is not to retry: with less than its time-out asked for, it would.
        last, pause = response, response.headers.pop("retry-after", "")

    session = _signed_session() if signed else requests.Session()
    session.hooks["response"].append(remember)
    for scheme in ("http://", "https://"):
        session.mount(scheme, _WithTimeout(timeout))
    exporter = OTLPSpanExporter(timeout=_NO_RETRIES, session=session)

    def export(spans: Sequence[ReadableSpan]) -> Answer:
        nonlocal last, pause
        last, pause = None, ""
        try:
            cut = [within_limits(span) for span in spans]
        except Exception:  # noqa: BLE001 (such as a name that is no text: another try will not help)
            return Answer(Outcome.REFUSED, lost=len(spans))
        success = exporter.export(cut) is SpanExportResult.SUCCESS
        if last is None:  # it never left: the back end is away, or these spans cannot be encoded
            return Answer(Outcome.FAILED) if _can_be_sent(cut) else Answer(Outcome.REFUSED, lost=len(spans))
        if last.ok and not success:  # its body broke off
            return Answer(Outcome.FAILED)
        return answer_of(last.status_code, pause, last.content, len(spans))

    return export


def _signed_session() -> requests.Session:
    from tracerun.google_credentials import session  # noqa: PLC0415 (40 ms, and only direct export needs it)

    return session()


def _can_be_sent(spans: Sequence[ReadableSpan]) -> bool:
    try:
        return bool(encode_spans(spans).ByteSize() <= LARGEST_REQUEST)
    except Exception:  # noqa: BLE001 (whatever it is, another try will not help)
        return False
