"""httpx transports that make one CLIENT span a request and send the trace headers.

httpx.AsyncClient(transport=AsyncTracedTransport())
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, set_span_in_context

from tracerun.http_names import (
    REQUEST_METHOD,
    RESPONSE_STATUS_CODE,
    SERVER_ADDRESS,
    SERVER_PORT,
    URL_FULL,
    known_method,
    set_failure,
    span_name,
    type_name,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from opentelemetry.util.types import AttributeValue

# A proxy until the set-up, which may come later than this import.
_tracer = trace.get_tracer("tracerun")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class AsyncTracedTransport(httpx.AsyncBaseTransport):
    """Traces the requests that `inner` (default: httpx's own transport) sends."""

    def __init__(self, inner: httpx.AsyncBaseTransport | None = None) -> None:
        self._inner = inner or httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request` in a CLIENT span that ends when the response's body has been read or is given up."""
        span = _ClientSpan(request)
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException as error:
            span.fail(error)
            raise
        span.responded(response)
        if response.is_closed:  # a transport may answer with a body that it has read itself
            span.end()
        elif isinstance(response.stream, httpx.AsyncByteStream):
            response.stream = _AsyncBody(response.stream, span)
        return response

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()


class TracedTransport(httpx.BaseTransport):
    """The same for `httpx.Client`."""

    def __init__(self, inner: httpx.BaseTransport | None = None) -> None:
        self._inner = inner or httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request` in a CLIENT span that ends when the response's body has been read or is given up."""
        span = _ClientSpan(request)
        try:
            response = self._inner.handle_request(request)
        except BaseException as error:
            span.fail(error)
            raise
        span.responded(response)
        if response.is_closed:  # see AsyncTracedTransport
            span.end()
        elif isinstance(response.stream, httpx.SyncByteStream):
            response.stream = _Body(response.stream, span)
        return response

    def close(self) -> None:
        """Close the inner transport."""
        self._inner.close()


class _ClientSpan:
    def __init__(self, request: httpx.Request) -> None:
        url = request.url
        method = known_method(request.method)
        port = url.port or _DEFAULT_PORTS.get(url.scheme)
        attributes: dict[str, AttributeValue] = {
            REQUEST_METHOD: method,
            SERVER_ADDRESS: url.host,
            URL_FULL: str(url.copy_with(query=None, fragment=None, userinfo=b"")),
        }
        if port is not None:
            attributes[SERVER_PORT] = port
        self._span = _tracer.start_span(span_name(method), None, SpanKind.CLIENT, attributes)
        propagate.inject(request.headers, set_span_in_context(self._span))

    def responded(self, response: httpx.Response) -> None:
        self._span.set_attribute(RESPONSE_STATUS_CODE, response.status_code)
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            set_failure(self._span, str(response.status_code))

    def fail(self, error: BaseException) -> None:
        # GeneratorExit: the reader of the body has enough, which is no failure.
        if self._span.is_recording() and not isinstance(error, GeneratorExit):
            self._span.record_exception(error)
            set_failure(self._span, type_name(error))
        self.end()

    def end(self) -> None:
        if self._span.is_recording():
            self._span.end()


class _AsyncBody(httpx.AsyncByteStream):
    """Ends the span with the last chunk: the body may be closed much later, even after our own response."""

    def __init__(self, inner: httpx.AsyncByteStream, span: _ClientSpan) -> None:
        self._inner = inner
        self._span = span

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                yield chunk
        except BaseException as error:
            self._span.fail(error)
            raise
        self._span.end()

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            self._span.end()


class _Body(httpx.SyncByteStream):
    def __init__(self, inner: httpx.SyncByteStream, span: _ClientSpan) -> None:
        self._inner = inner
        self._span = span

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._inner
        except BaseException as error:
            self._span.fail(error)
            raise
        self._span.end()

    def close(self) -> None:
        try:
            self._inner.close()
        finally:
            self._span.end()
