"""What becomes of an export, whatever the protocol, and the choice of the protocol."""

from __future__ import annotations

import logging
import os
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from tracerun.settings import Settings

_log = logging.getLogger(__name__)

TIMEOUT: Final = 0.75
"""Seconds for one export, at least."""
TIMEOUT_SHARE: Final = 1.5
"""It may take this many times what a response waits: else a longer wait would be in vain."""

MOST_PARTS: Final = 40
"""Exports into which one that was refused is split at most; two spans at fault among 512 are found in 34."""

_NONE_REJECTED: Final = frozenset({b"", b"\x0a\x00"})
"""Answers that say nothing was rejected; a collector always writes the field, empty."""

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


class Outcome(Enum):
    """What became of an export."""

    DELIVERED = auto()
    FAILED = auto()
    """Worth another try."""
    REFUSED = auto()
    """The back end will never take these spans."""


class Answer(NamedTuple):
    """What the back end said to an export."""

    outcome: Outcome
    retry_after: float = 0.0
    """Seconds for which it asked to be left alone."""
    lost: int = 0
    """Spans of a delivered or refused export that it did not take."""
    again: tuple[ReadableSpan, ...] = ()
    """Spans of a delivered export that was split, whose part failed."""

    def left_over(self, spans: Sequence[ReadableSpan]) -> Sequence[ReadableSpan]:
        """Return those of `spans`, which were exported, that are worth another try."""
        return spans if self.outcome is Outcome.FAILED else self.again


class Export(Protocol):
    """Sends spans and says what became of them; blocks."""

    def __call__(self, spans: Sequence[ReadableSpan]) -> Answer:
        """Send `spans`."""
        ...


def otlp(settings: Settings) -> Export:
    """Return an export to `OTEL_EXPORTER_OTLP_ENDPOINT`, over what `settings` say, with a token where they ask for one.

    It imports what it needs when it is called (25 to 50 ms), so call it in the thread that exports. Raises `ValueError`
    when a token would be sent without TLS, and what google-auth raises when there are no credentials.
    """
    if settings.sign_exports:
        _refuse_plain_text()
    timeout = max(TIMEOUT, TIMEOUT_SHARE * settings.flush_deadline)
    if settings.grpc:
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # it writes to stderr, in no form that logs have
        from tracerun.otlp_grpc import otlp_grpc  # noqa: PLC0415 (see above)

        export = otlp_grpc(signed=settings.sign_exports, timeout=timeout)
    else:
        export = _otlp_http(signed=settings.sign_exports, timeout=timeout)
    return lambda spans: saving_the_others(export, spans)


def _otlp_http(*, signed: bool, timeout: float) -> Export:
    if not signed:
        from tracerun.otlp_local import otlp_local  # noqa: PLC0415 (see otlp)

        local = otlp_local(timeout)
        if local is not None:
            return local
    from tracerun.otlp_http import otlp_http  # noqa: PLC0415 (see otlp)

    return otlp_http(signed=signed, timeout=timeout)


def variable(name: str) -> str:
    """Return what the environment says for traces of the exporter's option `name`, such as HEADERS; empty: nothing."""
    return os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}") or ""


def _refuse_plain_text() -> None:
    url = variable("ENDPOINT")
    if not url.lower().startswith("https://"):
        raise ValueError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT={url}: TRACERUN_EXPORT_AUTH=google would send its token in plain text: "
            "use https://telemetry.googleapis.com"
        )


def answer_of(status: int, retry_after: str, content: bytes, spans: int) -> Answer:
    """Return what an HTTP answer to an export of `spans` spans means; `retry_after` is its header, empty for none.

    https://opentelemetry.io/docs/specs/otlp/#failures-1; 401, 403 and 404 heal when access or the address is mended.
    """
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return Answer(Outcome.DELIVERED, lost=_rejected(content))
    if status in _FINAL:
        return Answer(Outcome.REFUSED, lost=spans)
    # Its other form, a date, counts as none: our own pauses serve then.
    pause = min(float(retry_after), LONGEST_RETRY_AFTER) if retry_after.isdecimal() else 0.0
    return Answer(Outcome.FAILED, pause)


def _rejected(content: bytes) -> int:
    """Return how many spans a back end says it has rejected: https://opentelemetry.io/docs/specs/otlp/#partial-success-1."""
    if content in _NONE_REJECTED:
        return 0
    from google.protobuf.message import DecodeError  # noqa: PLC0415 (30 ms, and hardly ever needed)
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse  # noqa: PLC0415

    try:
        message = ExportTraceServiceResponse.FromString(content)
    except DecodeError:  # success in no form that OTLP knows
        return 0
    return max(int(message.partial_success.rejected_spans), 0)


def saving_the_others(export: Export, spans: Sequence[ReadableSpan]) -> Answer:
    """Export `spans`; if they are refused, look for the ones at fault by halving, and deliver the others."""
    answer = export(spans)
    if answer.outcome is not Outcome.REFUSED:
        return answer
    found = _Search(export).without_the_refused(spans)
    return answer if found.lost == len(spans) else found


class _Search:
    """For the spans at fault; what is not found within `MOST_PARTS` exports counts as at fault."""

    def __init__(self, export: Export) -> None:
        self._export = export
        self._left = MOST_PARTS

    def without_the_refused(self, refused: Sequence[ReadableSpan]) -> Answer:
        """Deliver what can be of spans that were refused together."""
        if len(refused) == 1 or self._left <= 1:
            return Answer(Outcome.DELIVERED, lost=len(refused))
        half = len(refused) // 2
        parts = (refused[:half], refused[half:])
        self._left -= len(parts)
        answers = [self._export(part) for part in parts]  # both, before either is searched
        lost, pause = 0, 0.0
        again: list[ReadableSpan] = []
        for part, first in zip(parts, answers, strict=True):
            answer = self.without_the_refused(part) if first.outcome is Outcome.REFUSED else first
            lost += answer.lost
            again += answer.left_over(part)
            pause = max(pause, answer.retry_after)
        return Answer(Outcome.DELIVERED, pause, lost, tuple(again))
