"""The Telemetry API: takes OTLP over HTTP, and stands in for the sidecar's collector.

Not imitated yet: gRPC, access tokens, quotas.
"""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import TYPE_CHECKING, Final

from aiohttp import web
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from cloudrun.otlp import refusal, spans_of
from cloudrun.rules import OTLP_TRACES, imitates
from cloudrun.web_server import WebServer

if TYPE_CHECKING:
    from cloudrun.store import Store

_PROTOBUF: Final = "application/x-protobuf"
_LARGEST: Final = 64 << 20


@imitates(OTLP_TRACES)
class TelemetryApi:
    """One listener, on a free port. Tests may make it slow (`delay`, in seconds) or failing (`status`)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.delay = 0.0
        self.status: int | None = None
        self.exports = 0
        self.refused: list[str] = []
        self._server = WebServer([web.post("/v1/traces", self._export)], client_max_size=_LARGEST)

    @property
    def url(self) -> str:
        """The address, without a path."""
        return self._server.url

    async def start(self) -> None:
        """Listen."""
        await self._server.start()

    async def stop(self) -> None:
        """Stop listening, as in an outage: connections are refused from then on."""
        await self._server.stop()

    async def resume(self) -> None:
        """Listen again, on the same port."""
        await self._server.resume()

    async def _export(self, request: web.Request) -> web.Response:
        self.exports += 1
        body = await request.read()
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.status is not None:
            return web.Response(status=self.status, text="as the test asked for")
        if request.content_type != _PROTOBUF:
            return web.Response(status=415, text=f"content type must be {_PROTOBUF}, got {request.content_type}")
        message = ExportTraceServiceRequest()
        try:
            # aiohttp has undone the encoding already; some clients name none.
            message.ParseFromString(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        except (DecodeError, OSError, zlib.error) as error:
            return web.Response(status=400, text=f"INVALID_ARGUMENT: no OTLP request: {error}")
        reason = refusal(message)
        if reason is not None:
            self.refused.append(reason)
            return web.Response(status=400, text=f"INVALID_ARGUMENT: {reason}")
        self._store.add(spans_of(message))
        return web.Response(body=ExportTraceServiceResponse().SerializeToString(), content_type=_PROTOBUF)
