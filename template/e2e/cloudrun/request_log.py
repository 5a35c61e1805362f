"""The request log: one entry a request, whoever answered it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudrun.trace_headers import PlatformSpan


@dataclass(frozen=True)
class RequestLog:
    """One line of the request log."""

    service: str
    client: tuple[str, int]
    """Address from which the request came."""
    method: str
    path: str
    status: int
    """0 when the client left before there was one."""
    span: PlatformSpan
    started_ns: int
    ended_ns: int
    refusal: str | None = None
    """Why the platform refused the request by itself; None: an instance had it."""

    def warning(self) -> str:
        """Return the entry of a refused request as a line of structured logging."""
        path = self.path.partition("?")[0]
        return json.dumps(
            {
                "severity": "WARNING",
                "message": f"{self.method} {path} {self.status}: {self.refusal}",
                "logging.googleapis.com/trace": self.span.trace_id,
                "httpRequest": {"requestMethod": self.method, "requestUrl": path, "status": self.status},
            }
        )
