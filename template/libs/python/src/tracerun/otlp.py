"""What becomes of an export, whatever the protocol, and the choice of the protocol."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, Protocol

from tracerun.limits import within_limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from tracerun.settings import Settings

_log = logging.getLogger(__name__)

TIMEOUT: Final = 0.75
"""Seconds for one export. Below the exporter's first back-off of 1 s, so it never retries: the processor does."""

LONGEST_RETRY_AFTER: Final = 60.0
"""Seconds; a back end that asks for more is asked again after these."""


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


def otlp(settings: Settings) -> Export:
    """Return an export to `OTEL_EXPORTER_OTLP_ENDPOINT`, over what `settings` say, with a token where they ask for one.

    It imports what it needs when it is called (25 to 50 ms), so call it in the thread that exports. Raises `ValueError`
    when a token would be sent without TLS, and what google-auth raises when there are no credentials.
    """
    if settings.sign_exports:
        _refuse_plain_text()
    if settings.grpc:
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # it writes to stderr, in no form that logs have
        from tracerun.otlp_grpc import otlp_grpc  # noqa: PLC0415 (see above)

        export = otlp_grpc(signed=settings.sign_exports)
    else:
        from tracerun.otlp_http import otlp_http  # noqa: PLC0415 (see above)

        export = otlp_http(signed=settings.sign_exports)
    return lambda spans: saving_the_others(export, [within_limits(span) for span in spans])


def endpoint() -> str | None:
    """Return the URL that the environment gives for traces, or None."""
    return os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")


def _refuse_plain_text() -> None:
    url = endpoint() or ""
    if not url.lower().startswith("https://"):
        raise ValueError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT={url}: TRACERUN_EXPORT_AUTH=google would send its token in plain text: "
            "use https://telemetry.googleapis.com"
        )


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
