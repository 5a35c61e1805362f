"""httpx transports for calls to other services.

httpx.AsyncClient(transport=AsyncTracedTransport())

Each try is one CLIENT span and carries the trace headers. Calls to private services carry an ID token. Calls that are
made while a request of a trusted caller is handled get no more time than that caller waits. Requests that may be
repeated are tried once more when the connection fails or the answer is a 503.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from tracerun.call import call
from tracerun.private_callees import IdTokenError, IdTokenTimeout, PrivateCallees
from tracerun.settings import private_callees
from tracerun.time_limit import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

    _T = TypeVar("_T")

__all__ = ["AsyncTracedTransport", "DeadlineExceeded", "IdTokenError", "IdTokenTimeout", "TracedTransport"]


class AsyncTracedTransport(httpx.AsyncBaseTransport):
    """Sends by `inner` (default: httpx's own transport); for asyncio."""

    def __init__(self, inner: httpx.AsyncBaseTransport | None = None) -> None:
        self._inner = inner or httpx.AsyncHTTPTransport()
        self._wire = _AsyncWire(self._inner)
        self._callees = PrivateCallees(private_callees(os.environ))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`; raises httpx's exceptions, `IdTokenError` and `DeadlineExceeded` among them."""
        return await call(request, self._wire, self._callees)

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()


class TracedTransport(httpx.BaseTransport):
    """The same for `httpx.Client`."""

    def __init__(self, inner: httpx.BaseTransport | None = None) -> None:
        self._inner = inner or httpx.HTTPTransport()
        self._wire = _BlockingWire(self._inner)
        self._callees = PrivateCallees(private_callees(os.environ))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`; raises httpx's exceptions, `IdTokenError` and `DeadlineExceeded` among them."""
        return _run_through(call(request, self._wire, self._callees))

    def close(self) -> None:
        """Close the inner transport."""
        self._inner.close()


class _AsyncWire:
    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self.send = inner.handle_async_request

    async def close(self, response: httpx.Response) -> None:
        await response.aclose()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def result(self, future: Future[_T], seconds: float) -> _T:
        return await asyncio.wait_for(asyncio.wrap_future(future), seconds)


class _BlockingWire:
    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner

    async def send(self, request: httpx.Request) -> httpx.Response:
        return self._inner.handle_request(request)

    async def close(self, response: httpx.Response) -> None:
        response.close()

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 (there is no event loop: see Wire)

    async def result(self, future: Future[_T], seconds: float) -> _T:
        return future.result(seconds)


def _run_through(coroutine: Coroutine[Any, Any, _T]) -> _T:
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: _T = done.value
        return result
    raise RuntimeError("a blocking call was suspended")
