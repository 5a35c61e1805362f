from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from fastapi import APIRouter, FastAPI, HTTPException, Path, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan
    from recorder import Recorder

    from tracerun import Telemetry

app = FastAPI()
router = APIRouter()
mounted = FastAPI()


@app.get("/items/{id}")
async def item(item_id: Annotated[int, Path(alias="id")]) -> dict[str, int]:
    return {"id": item_id}


@app.get("/sync/{name}")
def sync(name: str) -> str:
    with trace.get_tracer("test").start_as_current_span("in a thread"):
        return name


@router.get("/orders/{order}")
async def order(order: str) -> str:
    return order


@mounted.get("/inner/{part}")
async def inner(part: str) -> str:
    return part


tenants = FastAPI()


@tenants.get("/items/{id}")
async def tenant_item(item_id: Annotated[int, Path(alias="id")]) -> int:
    return item_id


@app.get("/crash")
async def crash() -> None:
    raise RuntimeError("broken")


@app.get("/unavailable")
async def unavailable() -> None:
    raise HTTPException(503)


@app.get("/nothing", status_code=204)
async def nothing() -> None:
    return


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"chunk"
            trace.get_tracer("test").start_span("chunk").end()

    return StreamingResponse(chunks())


@app.get("/health")
async def health() -> str:
    return "ok"


@app.websocket("/socket/{room}")
async def socket(websocket: WebSocket, room: str) -> None:
    await websocket.accept()
    await websocket.send_text(room)
    await websocket.close()


@app.websocket("/patient")
async def patient(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.receive_text()


@app.middleware("http")
async def splits_the_body(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    return await call_next(request)


app.include_router(router, prefix="/v1")
app.mount("/mounted", mounted)
app.mount("/t/{tenant}", tenants)


@pytest.fixture
def client(telemetry: Telemetry, recorder: Recorder) -> Iterator[TestClient]:  # noqa: ARG001 (empties it)
    with TestClient(telemetry.traced(app), raise_server_exceptions=False) as client:
        yield client


def server_span(recorder: Recorder) -> ReadableSpan:
    (span,) = [span for span in recorder.spans if span.kind is SpanKind.SERVER]
    return span


@pytest.mark.parametrize(
    ("path", "name", "route"),
    [
        ("/items/7?token=secret", "GET /items/{id}", "/items/{id}"),
        ("/v1/orders/x", "GET /v1/orders/{order}", "/v1/orders/{order}"),
        ("/mounted/inner/x", "GET /mounted/inner/{part}", "/mounted/inner/{part}"),
        ("/t/42/items/7", "GET /t/{tenant}/items/{id}", "/t/{tenant}/items/{id}"),
        ("/sync/x", "GET /sync/{name}", "/sync/{name}"),
        ("/nowhere", "GET", None),
        ("/nothing", "GET /nothing", "/nothing"),
        ("/stream", "GET /stream", "/stream"),
    ],
)
def test_one_server_span_named_by_its_route_delivered_with_the_response(
    client: TestClient, recorder: Recorder, path: str, name: str, route: str | None
) -> None:
    response = client.get(path)
    span = server_span(recorder)
    assert span.name == name
    attributes: dict[str, Any] = dict(span.attributes or {})
    assert attributes.pop("http.route", None) == route
    assert attributes == {
        "http.request.method": "GET",
        "url.path": path.partition("?")[0],
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "http.response.status_code": response.status_code,
    }
    assert "secret" not in str([span.to_json() for span in recorder.spans])


def test_the_access_line_is_about_the_request_as_it_came_and_has_no_secrets(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    async def rewrites(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope["path"] = "/nothing"
        await app(scope, receive, send)

    caplog.set_level(logging.INFO, "tracerun.access")
    with TestClient(telemetry.traced(rewrites)) as client:
        client.get("/items/7?token=secret")
    (record,) = [record for record in caplog.records if record.name == "tracerun.access"]
    assert record.getMessage() == "GET /items/7 204"
    assert "secret" not in repr(vars(record))


def test_spans_of_sync_handlers_and_streams_are_children_and_delivered_too(
    client: TestClient, recorder: Recorder
) -> None:
    for path, child, count in (("/sync/x", "in a thread", 1), ("/stream", "chunk", 3)):
        recorder.spans.clear()
        client.get(path)
        parent = server_span(recorder).context
        assert parent is not None
        children = [span for span in recorder.spans if span.name == child]
        assert [span.parent.span_id for span in children if span.parent] == [parent.span_id] * count


def test_an_unhandled_exception_is_on_the_span(client: TestClient, recorder: Recorder) -> None:
    assert client.get("/crash").status_code == 500
    span = server_span(recorder)
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "RuntimeError"
    (event,) = span.events
    assert (event.attributes or {})["exception.message"] == "broken"


def test_a_chosen_5xx_is_an_error_without_an_exception(client: TestClient, recorder: Recorder) -> None:
    client.get("/unavailable")
    span = server_span(recorder)
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "503"
    assert not span.events


def test_a_4xx_is_no_error_of_the_server(client: TestClient, recorder: Recorder) -> None:
    assert client.get("/items/one").status_code == 422
    assert server_span(recorder).status.status_code is StatusCode.UNSET


def test_probes_are_not_traced(client: TestClient, recorder: Recorder) -> None:
    assert client.get("/health").status_code == 200
    client.get("/nothing")  # delivers whatever is queued
    assert [span.name for span in recorder.spans] == ["GET /nothing"]


def test_an_unknown_method_makes_no_name_of_its_own(client: TestClient, recorder: Recorder) -> None:
    client.request("BREW", "/nowhere")
    span = server_span(recorder)
    assert span.name == "HTTP"
    assert (span.attributes or {})["http.request.method"] == "_OTHER"


def test_a_websocket_is_one_server_span(client: TestClient, recorder: Recorder) -> None:
    with client.websocket_connect("/socket/blue") as websocket:
        assert websocket.receive_text() == "blue"
        assert websocket.receive()["type"] == "websocket.close"
    span = server_span(recorder)
    assert span.name == "GET /socket/{room}"
    assert (span.attributes or {})["http.response.status_code"] == 101
    assert (span.attributes or {})["network.protocol.name"] == "websocket"


def test_a_root_path_is_no_part_of_the_route(telemetry: Telemetry, recorder: Recorder) -> None:
    with TestClient(telemetry.traced(app), root_path="/api/v1") as client:
        assert client.get("/api/v1/items/7").status_code == 200
    assert server_span(recorder).name == "GET /items/{id}"


@pytest.mark.parametrize("code", [1000, 1001])
def test_a_websocket_that_the_client_closes_normally_is_no_error(
    client: TestClient, telemetry: Telemetry, recorder: Recorder, code: int
) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/patient") as websocket:
        websocket.close(code)
    assert telemetry.flush is not None
    telemetry.flush.force_flush()
    assert server_span(recorder).status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("path", ["/raise", "/return"])
def test_a_500_of_the_servers_own_waits_too(telemetry: Telemetry, recorder: Recorder, path: str) -> None:
    async def raw(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 (ASGI's signature)
        if scope["path"] == "/raise":
            raise RuntimeError("before the response")

    async def request() -> None:
        scope = {"type": "http", "method": "GET", "path": path, "http_version": "1.1", "headers": []}
        with contextlib.suppress(RuntimeError):
            await telemetry.traced(raw)(scope, None, None)  # type: ignore[arg-type]
        span = server_span(recorder)
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["http.response.status_code"] == 500

    asyncio.run(request())


def test_a_request_that_cannot_be_traced_is_served_and_the_next_ones_wait_as_before(
    telemetry: Telemetry, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TestClient(telemetry.traced(app)) as client:
        with monkeypatch.context() as broken:
            broken.setattr(type(telemetry.propagator), "read", lambda *_, **__: 1 / 0)
            assert client.get("/items/7").status_code == 200
        assert client.get("/items/7").status_code == 200
        assert server_span(recorder).name == "GET /items/{id}"
