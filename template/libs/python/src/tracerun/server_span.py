"""The one SERVER span of a request."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace.sampling import Decision

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
from tracerun.propagation import Incoming
from tracerun.request_span import RequestSpan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

    from tracerun.flush import FlushProcessor
    from tracerun.keep import KeepProcessor
    from tracerun.propagation import TracePropagator
    from tracerun.sampling import RatioSampler
    from tracerun.tracer_provider import ServiceTracerProvider


class ServerSpans:
    """Starts and ends the SERVER spans of one service.

    One starts with its request and ends with the status and the route that are known by then.
    """

    def __init__(
        self,
        provider: ServiceTracerProvider,
        propagator: TracePropagator,
        sampler: RatioSampler,
        flush: FlushProcessor,
        keep: KeepProcessor | None = None,
    ) -> None:
        """`sampler`, `flush` and `keep` are those of `provider`."""
        self._provider = provider
        self._propagator = propagator
        self._sampler = sampler
        self._keep = keep
        self._processor = flush if keep is None else keep

    def start(self, scope: Mapping[str, Any]) -> tuple[Span, Context]:
        """Return the span of the HTTP request or WebSocket whose ASGI scope this is, and the context around it.

        The context holds what a trusted caller says, its baggage and limits, and is else empty.
        """
        incoming, context = self._propagator.read(scope["headers"])
        if incoming is None:
            incoming = Incoming(trace_ids.new_trace_id(), random=True, trusted=False, trace_state=None, parent=None)
        decision = self._sampler.decide(incoming)
        if decision is Decision.DROP:
            return DroppedSpan(incoming), context
        method = known_method(scope.get("method", "GET"))  # a WebSocket opens with a GET
        attributes: dict[str, AttributeValue] = {
            REQUEST_METHOD: method,
            URL_PATH: scope["path"],
            URL_SCHEME: scope.get("scheme", "http"),
        }
        if scope["type"] == "websocket":
            attributes[NETWORK_PROTOCOL_NAME] = "websocket"
        else:
            attributes[NETWORK_PROTOCOL_VERSION] = scope["http_version"]
        sampled = decision is Decision.RECORD_AND_SAMPLE
        span = RequestSpan(self._provider, incoming, context, span_name(method), attributes, sampled=sampled)
        if self._provider.needs_every_start:
            return span.in_sdk(), context
        if self._keep is not None and not sampled:
            self._keep.join(span.get_span_context().span_id, incoming.parent)
        return span, context

    def end(
        self, span: Span, scope: Mapping[str, Any], status: int = 0, error: BaseException | None = None
    ) -> BaseException | None:
        """End `span`, which `start` has made for `scope`; `status` 0 means that no response was sent.

        Returns the exception that ended the request: `error`, or the one whose handler sends a response of 5xx.
        """
        if error is None and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            error = _exception_behind_response()
        if span.is_recording():  # else it is not recorded, or the app has ended it
            self._end(span, scope, status, error)
        return error

    def is_kept(self, span: Span) -> bool:
        """Tell, once, whether the local trace that began with `span`, which has ended, is kept."""
        ids = span.get_span_context()
        return ids.trace_flags.sampled or (self._keep is not None and self._keep.was_kept(ids.span_id))

    def _end(self, span: Span, scope: Mapping[str, Any], status: int, error: BaseException | None) -> None:
        route = route_template(scope)
        name = span_name(known_method(scope.get("method", "GET")), route) if route else None
        known: dict[str, AttributeValue] = {ROUTE: route} if route else {}
        if status:
            known[RESPONSE_STATUS_CODE] = status
        if error is None and status < HTTPStatus.INTERNAL_SERVER_ERROR and isinstance(span, RequestSpan):
            ended = span.end_untouched(name, known)
            if ended is not None:
                self._processor.on_end(ended)
                return
        if name:
            span.update_name(name)
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
