"""The ASGI middleware: one SERVER span a request, ended and delivered before the response is complete.

| what the app sends | when its span ends, and what waits |
|---|---|
| a response | with the message that completes it; that message waits |
| a stream, server-sent events | with its last chunk; while it is open the request is active and spans leave meanwhile |
| a WebSocket it closes | with its close frame; the frame waits |
| anything the client breaks off | at once; nothing can wait, its spans leave with the next CPU |
| work after the response (`BackgroundTasks`) | Cloud Run gives it no CPU under request billing: see `FlushProcessor` |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import context

from tracerun.response_progress import ResponseProgress
from tracerun.server_span import ServerSpan
from tracerun.settings import HEALTH_PATH

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from opentelemetry.trace import Tracer

    from tracerun.flush import FlushProcessor
    from tracerun.propagation import TracePropagator

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_SWITCHING_PROTOCOLS = 101
_FORBIDDEN = 403


class TraceMiddleware:
    """Wraps an ASGI application; put it outermost, so that every response passes it. Probes pass untraced."""

    def __init__(self, app: ASGIApp, tracer: Tracer, propagator: TracePropagator, flush: FlushProcessor) -> None:
        self._app = app
        self._tracer = tracer
        self._propagator = propagator
        self._flush = flush

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        # FastAPI makes a SERVER span of its own unless it believes that it has made one already.
        scope["fastapi.telemetry"] = None
        if scope["path"] == HEALTH_PATH:
            await self._app(scope, receive, send)
            return
        self._flush.request_started()
        exchange = _Exchange(self._flush, ServerSpan(self._tracer, self._propagator, scope), scope, send)
        token = context.attach(exchange.span.context)
        try:
            await self._app(scope, receive, exchange.send)
        except BaseException as error:
            await exchange.broken_off(error)
            raise
        else:
            await exchange.broken_off()
        finally:
            context.detach(token)


class _Exchange:
    """One request and its response, or one WebSocket."""

    __slots__ = ("_complete", "_flush", "_progress", "_send", "_websocket", "span")

    def __init__(self, flush: FlushProcessor, span: ServerSpan, scope: Scope, send: Send) -> None:
        self.span = span
        self._flush = flush
        self._send = send
        self._complete = False
        self._websocket = scope["type"] == "websocket"
        self._progress = ResponseProgress(scope.get("method", "GET"))

    async def send(self, message: Message) -> None:
        """Pass `message` on; the one that completes the response leaves once its spans are delivered."""
        if not self._complete and self._completes(message):
            self._complete = True
            self.span.end(self._progress.status)
            await self._flush.request_finished()
        await self._send(message)

    def _completes(self, message: Message) -> bool:
        kind = message["type"]
        if not self._websocket:
            return self._progress.completes(message)
        if kind == "websocket.accept":
            self._progress.status = _SWITCHING_PROTOCOLS
            return False
        if kind == "websocket.close":
            self._progress.status = self._progress.status or _FORBIDDEN
            return True
        return kind.startswith("websocket.http.response.") and self._progress.completes(
            {**message, "type": kind.removeprefix("websocket.")}
        )

    async def broken_off(self, error: BaseException | None = None) -> None:
        """End what the app left without completing it: the client went away, or the app failed in the middle."""
        if not self._complete:
            self._complete = True
            self.span.end(self._progress.status, error)
            await self._flush.request_finished(hold=False)
