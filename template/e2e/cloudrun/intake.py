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
class Refusal:
    """Why an export is not taken."""

    status: int
    """As HTTP says it."""
    reason: str


class Admit(Protocol):
    """Says why the sender of an export may not export, or None."""

    def __call__(self, headers: Mapping[str, str], /) -> str | None:
        """Look at the export's headers; their names are in lower case."""
        ...


class Intake:
    """Checks exports and stores their spans. Tests set `delay` (seconds) or `status` to make it slow or failing."""

    def __init__(self, store: Store, *, google: bool) -> None:
        """`google`: with the checks of the Telemetry API."""
        self._store = store
        self._google = google
        self.delay = 0.0
        self.status: int | None = None
        self.exports = 0
        self.refused: list[str] = []

    async def take(self, headers: Mapping[str, str], body: bytes, admit: Admit) -> Refusal | None:
        """Store the spans of `body`, an OTLP request as protobuf, or return why not."""
        stranger = admit(headers)
        if stranger is not None:
            return Refusal(UNAUTHORIZED, f"UNAUTHENTICATED: {stranger}")
        self.exports += 1
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.status is not None:
            return Refusal(self.status, "as the test asked for")
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
