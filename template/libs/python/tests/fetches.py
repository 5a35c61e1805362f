"""One request by either of httpx's clients."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import httpx
from opentelemetry.context import Context, attach, detach

from tracerun.httpx import AsyncTracedTransport, TracedTransport
from tracerun.propagation import TracePropagator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Content = bytes | list[bytes] | None


class Fetch(Protocol):
    """`handling` is the context of the request that is being handled; a list is sent as a stream of its parts."""

    def __call__(
        self,
        url: str,
        method: str = "GET",
        *,
        handling: Context | None = None,
        content: Content = None,
        **options: Any,
    ) -> httpx.Response: ...


def handled(headers: dict[str, str], *, trust: bool = True) -> Context:
    """Return the context in which a request with `headers` is handled."""
    return TracePropagator(trust_callers=trust, google_backend=True).extract(headers, Context())


def fetch_blocking(
    url: str, method: str = "GET", *, handling: Context | None = None, content: Content = None, **options: Any
) -> httpx.Response:
    token = attach(handling or Context())
    try:
        with httpx.Client(transport=TracedTransport(), follow_redirects=True) as client:
            return client.request(
                method, url, content=iter(content) if isinstance(content, list) else content, **options
            )
    finally:
        detach(token)


def fetch_on_a_loop(
    url: str, method: str = "GET", *, handling: Context | None = None, content: Content = None, **options: Any
) -> httpx.Response:
    async def parts(content: list[bytes]) -> AsyncIterator[bytes]:
        for part in content:
            yield part

    async def fetch() -> httpx.Response:
        async with httpx.AsyncClient(transport=AsyncTracedTransport(), follow_redirects=True) as client:
            return await client.request(
                method, url, content=parts(content) if isinstance(content, list) else content, **options
            )

    token = attach(handling or Context())
    try:
        return asyncio.run(fetch())
    finally:
        detach(token)
