"""The Telemetry API: takes OTLP over HTTP, and stands in for the sidecar's collector.

Not imitated yet: gRPC, quotas.
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
from cloudrun.rules import BEARER_TOKEN, OTLP_TRACES, imitates
from cloudrun.web_server import WebServer

if TYPE_CHECKING:
    from collections.abc import Collection

    from cloudrun.store import Store

_PROTOBUF: Final = "application/x-protobuf"
_LARGEST: Final = 64 << 20


@imitates(OTLP_TRACES)
class TelemetryApi:
    """Two listeners, on free ports: only one of them asks for a token. Tests may make both slow or failing.

    Set `delay` (in seconds) or `status` for that.
    """

    def __init__(self, store: Store, tokens: Collection[str]) -> None:
        """`tokens` are the access tokens that are valid."""
        self._store = store
        self._tokens = tokens
        self.delay = 0.0
        self.status: int | None = None
        self.exports = 0
        self.refused: list[str] = []
        self.signed_exports = 0
        self._server = WebServer([web.post("/v1/traces", self._export)], client_max_size=_LARGEST)
        self._signed = WebServer([web.post("/v1/traces", self._signed_export)], client_max_size=_LARGEST)

    @property
    def url(self) -> str:
        """The address, without a path, of the listener that stands in for a collector: it asks for no token."""
        return self._server.url

    @property
    def signed_url(self) -> str:
        """The address, without a path, of the listener that asks for a token."""
        return self._signed.url

    async def start(self) -> None:
        """Listen."""
        await self._server.start()
        await self._signed.start()

    async def stop(self) -> None:
        """Stop listening, as in an outage: connections are refused from then on."""
        await self._server.stop()
        await self._signed.stop()

    async def resume(self) -> None:
        """Listen again, on the same ports."""
        await self._server.resume()
        await self._signed.resume()

    @imitates(BEARER_TOKEN)
    async def _signed_export(self, request: web.Request) -> web.Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self._tokens:
            return web.Response(status=401, text="UNAUTHENTICATED: no access token that the metadata server gave")
        self.signed_exports += 1
        return await self._export(request)

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
