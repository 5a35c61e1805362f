from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from tracerun.httpx import AsyncTracedTransport, TracedTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from opentelemetry.sdk.trace import ReadableSpan
    from recorder import Recorder

    from tracerun import Telemetry


def answer(request: httpx.Request) -> httpx.Response:
    if request.url.path == "/broken":
        raise httpx.ReadError("reset", request=request)
    return httpx.Response(404 if request.url.path == "/missing" else 200, text=request.headers["traceparent"])


def client_span(telemetry: Telemetry, recorder: Recorder) -> ReadableSpan:
    assert telemetry.flush is not None
    assert telemetry.flush.force_flush()
    (span,) = [span for span in recorder.spans if span.kind is SpanKind.CLIENT]
    return span


@pytest.fixture(params=["sync", "async"])
def get(request: pytest.FixtureRequest) -> Iterator[object]:
    async def get_async(url: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=AsyncTracedTransport(httpx.MockTransport(answer))) as client:
            return await client.get(url)

    if request.param == "async":
        yield lambda url: asyncio.run(get_async(url))
    else:
        with httpx.Client(transport=TracedTransport(httpx.MockTransport(answer))) as client:
            yield client.get


def test_one_client_span_whose_id_the_callee_sees(get, telemetry: Telemetry, recorder: Recorder) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    with trace.get_tracer("test").start_as_current_span("handler") as handler:
        response = get("http://user:secret@stock:8080/items/1?token=secret#part")
    span = client_span(telemetry, recorder)
    assert span.context is not None
    assert response.text.split("-")[1:3] == [f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"]
    assert span.parent is not None
    assert span.parent.span_id == handler.get_span_context().span_id
    assert span.name == "GET"
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "server.address": "stock",
        "server.port": 8080,
        "url.full": "http://stock:8080/items/1",
        "http.response.status_code": 200,
    }


def test_a_callees_error_is_an_error_of_the_call(get, telemetry: Telemetry, recorder: Recorder) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    get("http://stock/missing")
    span = client_span(telemetry, recorder)
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "404"


def test_a_broken_connection_is_an_error_with_its_exception(get, telemetry: Telemetry, recorder: Recorder) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    with pytest.raises(httpx.ReadError):
        get("http://stock/broken")
    span = client_span(telemetry, recorder)
    assert (span.attributes or {})["error.type"] == "httpx.ReadError"
    assert [event.name for event in span.events] == ["exception"]


def test_the_span_of_a_stream_ends_with_its_last_chunk_though_it_is_closed_later(
    telemetry: Telemetry, recorder: Recorder
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"chunk"

    def stream(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=chunks())

    async def test() -> None:
        async with httpx.AsyncClient(transport=AsyncTracedTransport(httpx.MockTransport(stream))) as client:
            request = client.build_request("GET", "http://stock/")
            response = await client.send(request, stream=True)
            assert telemetry.flush is not None
            await asyncio.to_thread(telemetry.flush.force_flush)
            assert recorder.spans == []
            async for _ in response.stream:  # type: ignore[union-attr]
                pass
            await asyncio.to_thread(telemetry.flush.force_flush)
            assert len(recorder.spans) == 1
            await response.aclose()

    asyncio.run(test())
