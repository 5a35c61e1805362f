"""OTLP over HTTP: https://opentelemetry.io/docs/specs/otlp/#otlphttp."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING, Final

from aiohttp import web

from cloudrun.web_server import WebServer

if TYPE_CHECKING:
    import ssl

    from cloudrun.intake import Admit, Intake

_PROTOBUF: Final = "application/x-protobuf"
_LARGEST: Final = 64 << 20
_TAKEN: Final = b"\x0a\x00"
"""An empty partial success, as collectors answer: nothing was rejected."""
_GZIP: Final = b"\x1f\x8b"


class OtlpHttp(WebServer):
    """Takes exports as protobuf at /v1/traces, from those whom `admit` admits."""

    def __init__(self, intake: Intake, admit: Admit, tls: ssl.SSLContext | None = None) -> None:
        super().__init__([web.post("/v1/traces", self._export)], client_max_size=_LARGEST, tls=tls)
        self._intake = intake
        self._admit = admit

    async def _export(self, request: web.Request) -> web.Response:
        if request.content_type != _PROTOBUF:
            return web.Response(status=415, text=f"content type must be {_PROTOBUF}, got {request.content_type}")
        body = await request.read()
        try:
            # aiohttp has undone the encoding already; some clients name none.
            body = gzip.decompress(body) if body.startswith(_GZIP) else body
        except (OSError, EOFError, zlib.error) as error:
            return web.Response(status=400, text=f"INVALID_ARGUMENT: no gzip: {error}")
        headers = {name.lower(): value for name, value in request.headers.items()}
        raw = self._intake.trouble.raw
        if raw is not None and request.transport is not None:
            request.transport.write(raw)
            request.transport.close()
            return web.Response()  # goes nowhere
        refusal = await self._intake.take(headers, body, self._admit)
        if refusal is not None:
            pause = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
            return web.Response(status=refusal.status, text=refusal.reason, headers=pause)
        return web.Response(body=_TAKEN, content_type=_PROTOBUF)
