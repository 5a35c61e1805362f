"""What a back end does with an export, over whatever protocol it came."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cloudrun.otlp import refusal, spans_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloudrun.store import Store

BAD_REQUEST: Final = 400
UNAUTHORIZED: Final = 401


@dataclass(frozen=True)
class Trouble:
    """What tests make a back end do instead of its work."""

    delay: float = 0.0
    """Seconds before anything else."""
    status: int | None = None
    """An HTTP status to answer with; over gRPC, the code that is nearest."""
    retry_after: int | None = None
    """Seconds for which it asks to be left alone."""
    raw: bytes | None = None
    """What to write, over HTTP, before the connection is closed in the middle of things."""


@dataclass(frozen=True)
class Refusal:
    """Why an export is not taken."""

    status: int
    """As HTTP says it."""
    reason: str
    retry_after: int | None = None
    """Seconds for which the sender should wait."""


class Admit(Protocol):
    """Says why the sender of an export may not export, or None."""

    def __call__(self, headers: Mapping[str, str], /) -> str | None:
        """Look at the export's headers; their names are in lower case."""
        ...


class Intake:
    """Checks exports and stores their spans. Tests set `trouble`."""

    def __init__(self, store: Store, *, google: bool) -> None:
        """`google`: with the checks of the Telemetry API."""
        self._store = store
        self._google = google
        self.trouble = Trouble()
        self.exports = 0
        self.refused: list[str] = []

    async def take(self, headers: Mapping[str, str], body: bytes, admit: Admit) -> Refusal | None:
        """Store the spans of `body`, an OTLP request as protobuf, or return why not."""
        stranger = admit(headers)
        if stranger is not None:
            return Refusal(UNAUTHORIZED, f"UNAUTHENTICATED: {stranger}")
        self.exports += 1
        trouble = self.trouble
        if trouble.delay:
            await asyncio.sleep(trouble.delay)
        if trouble.status is not None:
            return Refusal(trouble.status, "as the test asked for", trouble.retry_after)
        message = ExportTraceServiceRequest()
        try:
            message.ParseFromString(body)
        except DecodeError as error:
            return Refusal(BAD_REQUEST, f"INVALID_ARGUMENT: no OTLP request: {error}")
        reason = refusal(message) if self._google else None
        if reason is not None:
            self.refused.append(reason)
            return Refusal(BAD_REQUEST, f"INVALID_ARGUMENT: {reason}")
        self._store.add(spans_of(message))
        return None
