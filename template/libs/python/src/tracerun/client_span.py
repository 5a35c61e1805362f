"""The CLIENT span of one try: it ends when the response's body has been read or is given up."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, set_span_in_context

from tracerun.http_names import (
    DEFAULT_PORTS,
    REQUEST_METHOD,
    REQUEST_RESEND_COUNT,
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
    from collections.abc import AsyncIterator, Callable, Iterator

    from opentelemetry.util.types import AttributeValue

# A proxy until the set-up, which may come later than this import.
_tracer = trace.get_tracer("tracerun")


class ClientSpan:
    """Starts at once and writes the trace headers to the request."""

    def __init__(self, request: httpx.Request, resent: int = 0) -> None:
        """`resent` counts the tries before this one."""
        url = request.url
        method = known_method(request.method)
        port = url.port or DEFAULT_PORTS.get(url.scheme)
        attributes: dict[str, AttributeValue] = {
            REQUEST_METHOD: method,
            SERVER_ADDRESS: url.host,
            URL_FULL: str(url.copy_with(query=None, fragment=None, userinfo=b"")),
        }
        if port is not None:
            attributes[SERVER_PORT] = port
        if resent:
            attributes[REQUEST_RESEND_COUNT] = resent
        self._span = _tracer.start_span(span_name(method), None, SpanKind.CLIENT, attributes)
        propagate.inject(request.headers, set_span_in_context(self._span))

    def responded(self, response: httpx.Response, check: Callable[[], None]) -> None:
        """Record the status, and end with the body; `check` is called between its chunks, and may raise."""
        self._span.set_attribute(RESPONSE_STATUS_CODE, response.status_code)
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            set_failure(self._span, str(response.status_code))
        if response.is_closed:  # a transport may answer with a body that it has read itself
            self.end()
        elif isinstance(response.stream, httpx.AsyncByteStream):
            response.stream = _AsyncBody(response.stream, self, check)
        elif isinstance(response.stream, httpx.SyncByteStream):
            response.stream = _Body(response.stream, self, check)

    def fail(self, error: BaseException) -> None:
        """Record `error` and end."""
        # GeneratorExit: the reader of the body has enough, which is no failure.
        if self._span.is_recording() and not isinstance(error, GeneratorExit):
            self._span.record_exception(error)
            set_failure(self._span, type_name(error))
        self.end()

    def end(self) -> None:
        """End, once."""
        if self._span.is_recording():
            self._span.end()


class _AsyncBody(httpx.AsyncByteStream):
    """Ends the span with the last chunk: the body may be closed much later, even after our own response."""

    def __init__(self, inner: httpx.AsyncByteStream, span: ClientSpan, check: Callable[[], None]) -> None:
        self._inner = inner
        self._span = span
        self._check = check

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                self._check()
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
    def __init__(self, inner: httpx.SyncByteStream, span: ClientSpan, check: Callable[[], None]) -> None:
        self._inner = inner
        self._span = span
        self._check = check

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._inner:
                self._check()
                yield chunk
        except BaseException as error:
            self._span.fail(error)
            raise
        self._span.end()

    def close(self) -> None:
        try:
            self._inner.close()
        finally:
            self._span.end()
