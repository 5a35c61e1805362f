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

import asyncio
import logging
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from opentelemetry import context
from opentelemetry.trace import set_span_in_context

from tracerun import request_log
from tracerun.caller_limits import until_answer
from tracerun.quiet import once_per_minute
from tracerun.response_progress import ResponseProgress
from tracerun.settings import HEALTH_PATH

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from opentelemetry.trace import Span

    from tracerun.flush import FlushProcessor
    from tracerun.server_span import ServerSpans

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_NORMAL_CLOSE = frozenset({1000, 1001})

_log = logging.getLogger(__name__)
once_per_minute(__name__)


class TraceMiddleware:
    """Wraps an ASGI application; put it outermost, so that every response passes it. Probes pass untraced."""

    def __init__(self, app: ASGIApp, spans: ServerSpans, flush: FlushProcessor) -> None:
        self._app = app
        self._spans = spans
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
        try:
            span, caller = self._spans.start(scope)
        except Exception:  # noqa: BLE001 (tracing is never in the way of a request)
            _log.warning("a request is not traced", exc_info=True)
            await self._untraced(scope, receive, send)
            return
        exchange = (_Exchange if scope["type"] == "http" else _WebSocket)(self, span, scope, send)
        send = until_answer(exchange.send, caller) if caller else exchange.send
        token = context.attach(set_span_in_context(span, caller))
        try:
            await self._app(scope, receive, send)
        except BaseException as error:
            if not exchange.complete:
                await exchange.broken_off(error)
            raise
        else:
            if not exchange.complete:
                await exchange.broken_off()
        finally:
            context.detach(token)

    async def _untraced(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            self._flush.request_ended(hold=False)

    def end(self, exchange: _Exchange, error: BaseException | None, *, hold: bool) -> bool:
        """End the span of a request and the request; tell whether its last byte must wait for `deliver`."""
        span, scope, status = exchange.span, exchange.scope, exchange.status
        try:
            error = self._spans.end(span, scope, status, error)
            if request_log.is_wanted(error):
                log = request_log.RequestLog(exchange.method, exchange.path, scope.get("http_version", "1.1"))
                log.ended(status, time.monotonic() - exchange.started, span, error, kept=self._spans.is_kept(span))
        finally:
            must_wait = self._flush.request_ended(hold=hold)
        return must_wait

    async def deliver(self) -> None:
        """Return when the last byte of a request that had to wait may leave."""
        await self._flush.hold()


class _Exchange(ResponseProgress):
    """One request and its response, or one WebSocket."""

    complete = False

    def __init__(self, middleware: TraceMiddleware, span: Span, scope: Scope, send: Send) -> None:
        self.method = scope.get("method", "GET")
        self.span = span
        self.scope = scope
        self.path = scope["path"]
        self.started = time.monotonic()
        self._middleware = middleware
        self._send = send

    def send(self, message: Message) -> Awaitable[None]:
        """Pass `message` on; the one that completes the response leaves once its spans are delivered."""
        if not self.complete and self.completes(message):
            self.complete = True
            if self._middleware.end(self, None, hold=True):
                return self._send_delivered(message)
        return self._send(message)

    async def _send_delivered(self, message: Message) -> None:
        await self._middleware.deliver()
        await self._send(message)

    async def broken_off(self, error: BaseException | None = None) -> None:
        """End what the app left without completing it: the client went away, or the app failed.

        Where nothing has been sent yet the server answers with a 500 of its own, which waits.
        """
        self.complete = True
        if error is not None and _is_normal_close(error):
            error = None
        is_http = self.scope["type"] == "http"
        unanswered = is_http and not self.status and not isinstance(error, asyncio.CancelledError)
        if unanswered:
            self.status = HTTPStatus.INTERNAL_SERVER_ERROR
        if self._middleware.end(self, error, hold=unanswered):
            await self._middleware.deliver()


class _WebSocket(_Exchange):
    def completes(self, message: Mapping[str, Any]) -> bool:
        """Tell whether `message` ends the WebSocket, or refuses it."""
        kind = message["type"]
        if kind == "websocket.accept":
            self.status = HTTPStatus.SWITCHING_PROTOCOLS
            return False
        if kind == "websocket.close":
            self.status = self.status or HTTPStatus.FORBIDDEN
            return True
        return kind.startswith("websocket.http.response.") and super().completes(
            {**message, "type": kind.removeprefix("websocket.")}
        )


def _is_normal_close(error: BaseException) -> bool:
    """Tell whether a client has closed its WebSocket as it should: Starlette raises that from `receive`."""
    return type(error).__name__ == "WebSocketDisconnect" and getattr(error, "code", None) in _NORMAL_CLOSE
