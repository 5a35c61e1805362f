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
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from opentelemetry import context

from tracerun.caller_limits import until_answer
from tracerun.quiet import OncePerMinute
from tracerun.request_log import RequestLog
from tracerun.response_progress import ResponseProgress
from tracerun.server_span import ServerSpan
from tracerun.settings import HEALTH_PATH

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from opentelemetry.trace import SpanContext, Tracer

    from tracerun.flush import FlushProcessor
    from tracerun.keep import KeepProcessor
    from tracerun.propagation import TracePropagator

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_NORMAL_CLOSE = frozenset({1000, 1001})

_log = logging.getLogger(__name__)
_log.addFilter(OncePerMinute())


class TraceMiddleware:
    """Wraps an ASGI application; put it outermost, so that every response passes it. Probes pass untraced."""

    def __init__(
        self,
        app: ASGIApp,
        tracer: Tracer,
        propagator: TracePropagator,
        flush: FlushProcessor,
        keep: KeepProcessor | None = None,
    ) -> None:
        self._app = app
        self._keep = keep
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
        try:
            exchange = _Exchange(self, ServerSpan(self._tracer, self._propagator, scope), scope, send)
        except Exception:  # noqa: BLE001 (tracing is never in the way of a request)
            _log.warning("a request is not traced", exc_info=True)
            await self._untraced(scope, receive, send)
            return
        token = context.attach(exchange.span.context)
        try:
            await self._app(scope, receive, until_answer(exchange.send, exchange.span.context))
        except BaseException as error:
            await exchange.broken_off(error)
            raise
        else:
            await exchange.broken_off()
        finally:
            context.detach(token)

    async def _untraced(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            await self.finish(hold=False)

    async def finish(self, *, hold: bool) -> None:
        """End a request; see `FlushProcessor.request_finished`."""
        await self._flush.request_finished(hold=hold)

    def kept(self, span: SpanContext) -> bool:
        """Tell, once, whether the local trace that began with `span`, which has ended, is kept."""
        return span.trace_flags.sampled or (self._keep is not None and self._keep.was_kept(span.span_id))


class _Exchange:
    """One request and its response, or one WebSocket."""

    __slots__ = ("_complete", "_log", "_middleware", "_progress", "_send", "_websocket", "span")

    def __init__(self, middleware: TraceMiddleware, span: ServerSpan, scope: Scope, send: Send) -> None:
        self.span = span
        self._middleware = middleware
        self._log = RequestLog(scope)
        self._send = send
        self._complete = False
        self._websocket = scope["type"] == "websocket"
        self._progress = ResponseProgress(scope.get("method", "GET"))

    async def send(self, message: Message) -> None:
        """Pass `message` on; the one that completes the response leaves once its spans are delivered."""
        if not self._complete and self._completes(message):
            await self._end(None, hold=True)
        await self._send(message)

    async def _end(self, error: BaseException | None, *, hold: bool) -> None:
        self._complete = True
        status = self._progress.status
        try:
            error = self.span.end(status, error)
            span = self.span.span_context
            self._log.ended(status, span, error, kept=self._middleware.kept(span))
        finally:
            await self._middleware.finish(hold=hold)

    def _completes(self, message: Message) -> bool:
        kind = message["type"]
        if not self._websocket:
            return self._progress.completes(message)
        if kind == "websocket.accept":
            self._progress.status = HTTPStatus.SWITCHING_PROTOCOLS
            return False
        if kind == "websocket.close":
            self._progress.status = self._progress.status or HTTPStatus.FORBIDDEN
            return True
        return kind.startswith("websocket.http.response.") and self._progress.completes(
            {**message, "type": kind.removeprefix("websocket.")}
        )

    async def broken_off(self, error: BaseException | None = None) -> None:
        """End what the app left without completing it: the client went away, or the app failed.

        Where nothing has been sent yet the server answers with a 500 of its own, which waits.
        """
        if self._complete:
            return
        if error is not None and _is_normal_close(error):
            error = None
        unanswered = not (self._websocket or self._progress.status or isinstance(error, asyncio.CancelledError))
        if unanswered:
            self._progress.status = HTTPStatus.INTERNAL_SERVER_ERROR
        await self._end(error, hold=unanswered)


def _is_normal_close(error: BaseException) -> bool:
    """Tell whether a client has closed its WebSocket as it should: Starlette raises that from `receive`."""
    return type(error).__name__ == "WebSocketDisconnect" and getattr(error, "code", None) in _NORMAL_CLOSE
