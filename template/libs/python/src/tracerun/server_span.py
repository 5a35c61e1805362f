"""The one SERVER span of a request."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind, set_span_in_context

from tracerun import trace_ids
from tracerun.dropped_span import DroppedSpan
from tracerun.http_names import (
    NETWORK_PROTOCOL_NAME,
    NETWORK_PROTOCOL_VERSION,
    REQUEST_METHOD,
    RESPONSE_STATUS_CODE,
    ROUTE,
    URL_PATH,
    URL_SCHEME,
    known_method,
    set_failure,
    span_name,
    type_name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

    from tracerun.propagation import TracePropagator
    from tracerun.sampling import RatioSampler


class ServerSpans:
    """Makes the SERVER spans of one service."""

    def __init__(self, tracer: Tracer, propagator: TracePropagator, sampler: RatioSampler) -> None:
        """`sampler` is the one of `tracer`."""
        self._tracer = tracer
        self._propagator = propagator
        self._sampler = sampler

    def start(self, scope: Mapping[str, Any]) -> ServerSpan:
        """Return the span of the HTTP request or WebSocket whose ASGI scope this is."""
        incoming, context = self._propagator.read(scope["headers"])
        if incoming is None:
            return ServerSpan(self._recorded(scope, context), context, scope)
        if self._sampler.drops(incoming):  # what is not recorded needs none of the SDK's work
            return ServerSpan(DroppedSpan(incoming), context, scope)
        adopted = trace_ids.adopt(incoming)
        try:
            return ServerSpan(self._recorded(scope, incoming.put_into(context)), context, scope)
        finally:
            trace_ids.release(adopted)

    def _recorded(self, scope: Mapping[str, Any], parent: Context) -> Span:
        method = known_method(scope.get("method", "GET"))  # a WebSocket opens with a GET
        attributes = {
            REQUEST_METHOD: method,
            URL_PATH: scope["path"],
            URL_SCHEME: scope.get("scheme", "http"),
        }
        if scope["type"] == "websocket":
            attributes[NETWORK_PROTOCOL_NAME] = "websocket"
        else:
            attributes[NETWORK_PROTOCOL_VERSION] = scope["http_version"]
        return self._tracer.start_span(span_name(method), parent, SpanKind.SERVER, attributes)


class ServerSpan:
    """Starts with the request and ends with the status and the route that are known by then."""

    __slots__ = ("_scope", "bare", "context", "recorded", "span")

    def __init__(self, span: Span, context: Context, scope: Mapping[str, Any]) -> None:
        self.span = span
        self._scope = scope
        self.context = set_span_in_context(span, context)
        """The context in which the request is handled: the span is current, baggage is there."""
        self.bare = not context
        """Whether no caller that is trusted said anything but who it is: no baggage, no limits."""
        self.recorded = span.is_recording()
        """Whether there is anything to keep."""

    def end(self, status: int = 0, error: BaseException | None = None) -> BaseException | None:
        """End the span; `status` 0 means that no response was sent.

        Returns the exception that ended the request: `error`, or the one whose handler sends a response of 5xx.
        """
        if error is None and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            error = _exception_behind_response()
        if self.recorded and self.span.is_recording():  # the app may have ended it
            self._end(status, error)
        return error

    def _end(self, status: int, error: BaseException | None) -> None:
        span = self.span
        known: dict[str, str | int] = {}
        route = route_template(self._scope)
        if route:
            span.update_name(span_name(known_method(self._scope.get("method", "GET")), route))
            known[ROUTE] = route
        if status:
            known[RESPONSE_STATUS_CODE] = status
        span.set_attributes(known)
        if error is not None:
            span.record_exception(error)
            set_failure(span, type_name(error))
        elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            set_failure(span, str(status))
        span.end()


def route_template(scope: Mapping[str, Any]) -> str | None:
    """Return the route that FastAPI matched, as `/items/{id}`, with the prefixes of routers and mounts.

    A `root_path` that the server or the app was given is no part of `url.path`, and so none of the route.
    """
    included = scope.get("fastapi", {}).get("effective_route_context")
    route = scope.get("route") if included is None else included
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    if not isinstance(path, str):
        return None
    mounted = scope["root_path"].removeprefix(scope["app_root_path"]) if "app_root_path" in scope else ""
    return f"{_named(mounted, scope.get('path_params', {}))}{path}"


def _named(mounted: str, parameters: Mapping[str, Any]) -> str:
    """Return the path of a mount with the names of its parameters for their values, which are unbounded."""
    if not mounted or not parameters:
        return str(mounted)
    names = {str(value): "{" + name + "}" for name, value in parameters.items()}
    return "/".join(names.get(segment, segment) for segment in mounted.split("/"))


def _exception_behind_response() -> BaseException | None:
    """Return the exception whose handler is sending the response, unless the app chose its status itself.

    Starlette's error middleware sends the 500 while it handles the exception, before it raises it again.
    """
    error = sys.exc_info()[1]
    return None if error is None or hasattr(error, "status_code") else error
