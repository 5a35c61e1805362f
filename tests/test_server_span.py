"""One SERVER span a request, with stable names and attributes and without secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloudrun import CloudRun


@pytest.mark.parametrize(
    ("method", "path", "name", "status"),
    [
        ("GET", "/items/7?token=secret", "GET /items/{id}", 200),
        ("GET", "/items/one", "GET /items/{id}", 422),
        ("GET", "/items/7/reviews", "GET /items/{id}/reviews", 200),
        ("HEAD", "/items/7", "HEAD /items/{id}", 405),
        ("GET", "/nowhere/7", "GET", 404),
    ],
)
def test_one_server_span_named_by_method_and_route(
    start: Callable[..., CloudRun], project: Path, method: str, path: str, name: str, status: int
) -> None:
    run = start(project)
    reply = run.request(method, path, headers={"authorization": "secret", "cookie": "secret"})
    assert reply.status == status
    run.terminate()  # delivers whatever would come late
    spans = run.trace(reply.trace_id).own()
    (server,) = [span for span in spans if span.kind == "SERVER"]
    assert server.name == name
    route = {"http.route": name.partition(" ")[2]} if " " in name else {}
    assert server.attributes == {
        "http.request.method": method,
        "url.path": path.partition("?")[0],
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "http.response.status_code": status,
        **route,
    }
    assert "secret" not in repr(spans)


def test_the_resource_tells_project_service_and_version(start: Callable[..., CloudRun], project: Path) -> None:
    run = start(project)
    (span,) = run.trace(run.get("/items/1").trace_id).own()
    expected = {
        "gcp.project_id": "offline-project",
        "service.name": "api",
        "service.namespace": "orders",
        "service.version": "offline",
        "deployment.environment.name": "offline",
        "cloud.region": "europe-west1",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
    }
    assert expected.items() <= span.resource.items()


def test_an_unhandled_exception_is_on_the_span(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(shapes)
    (span,) = run.trace(run.get("/crash").trace_id).own()
    assert (span.status, span.attributes["error.type"]) == ("ERROR", "RuntimeError")
    ((event, attributes),) = span.events
    assert event == "exception"
    assert attributes["exception.message"] == "broken"


def test_a_failing_upstream_fails_the_call_and_the_request(start: Callable[..., CloudRun], project: Path) -> None:
    run = start(project)
    run.upstream(status=500)
    reply = run.get("/items/1/reviews")
    assert reply.status == 502
    trace = run.trace(reply.trace_id)
    client, server = trace.one("CLIENT GET"), trace.one("SERVER GET /items/{id}/reviews")
    assert (client.status, client.attributes["error.type"]) == ("ERROR", "500")
    assert (server.status, server.attributes["error.type"]) == ("ERROR", "502")
