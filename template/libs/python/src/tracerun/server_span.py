"""The one SERVER span of a request."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import SpanKind, set_span_in_context

from tracerun import trace_ids
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
from tracerun.propagation import READ_HEADERS, TracePropagator, incoming_in, raw_headers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import SpanContext, Tracer

_READ: Final = {name.encode(): name for name in READ_HEADERS}


class ServerSpan:
    """Starts with the request and ends with the status and the route that are known by then."""

    __slots__ = ("_method", "_scope", "_span", "context")

    def __init__(self, tracer: Tracer, propagator: TracePropagator, scope: Mapping[str, Any]) -> None:
        """`scope` is the ASGI scope of an HTTP request or a WebSocket."""
        parent = propagator.extract(_trace_headers(scope["headers"]), getter=raw_headers)
        self._scope = scope
        self._method = known_method(scope.get("method", "GET"))  # a WebSocket opens with a GET
        attributes = {
            REQUEST_METHOD: self._method,
            URL_PATH: scope["path"],
            URL_SCHEME: scope.get("scheme", "http"),
        }
        if scope["type"] == "websocket":
            attributes[NETWORK_PROTOCOL_NAME] = "websocket"
        else:
            attributes[NETWORK_PROTOCOL_VERSION] = scope["http_version"]
        incoming = incoming_in(parent)
        adopted = trace_ids.adopt(incoming) if incoming is not None else None
        try:
            self._span = tracer.start_span(span_name(self._method), parent, SpanKind.SERVER, attributes)
        finally:
            if adopted is not None:
                trace_ids.release(adopted)
        self.context: Context = set_span_in_context(self._span, parent)
        """The context in which the request is handled: the span is current, baggage is there."""

    @property
    def span_context(self) -> SpanContext:
        """The ids of the span."""
        return self._span.get_span_context()

    def end(self, status: int = 0, error: BaseException | None = None) -> BaseException | None:
        """End the span; `status` 0 means that no response was sent.

        Returns the exception that ended the request: `error`, or the one whose handler sends a response of 5xx.
        """
        if error is None and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            error = _exception_behind_response()
        span = self._span
        if span.is_recording():
            route = route_template(self._scope)
            if route:
                span.update_name(span_name(self._method, route))
                span.set_attribute(ROUTE, route)
            if status:
                span.set_attribute(RESPONSE_STATUS_CODE, status)
            if error is not None:
                span.record_exception(error)
                set_failure(span, type_name(error))
            elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                set_failure(span, str(status))
        span.end()
        return error


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


def _trace_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in headers:
        known = _READ.get(name)
        if known is not None:
            found.setdefault(known, []).append(value.decode("latin-1"))
    return found


def _exception_behind_response() -> BaseException | None:
    """Return the exception whose handler is sending the response, unless the app chose its status itself.

    Starlette's error middleware sends the 500 while it handles the exception, before it raises it again.
    """
    error = sys.exc_info()[1]
    return None if error is None or hasattr(error, "status_code") else error
