"""The metadata server, the Telemetry API and the front end's answers to bad requests."""

from __future__ import annotations

import gzip
import socket
import ssl
from typing import TYPE_CHECKING

import grpc
import httpx
import pytest
from cloudrun import CloudRun
from cloudrun.protocols import GRPC, PROTOCOL
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from opentelemetry.proto.trace.v1.trace_pb2 import Span as TracedSpan

    from tests.conftest import Variant


@pytest.fixture(scope="module")
def run(shapes: Path) -> Iterator[CloudRun]:
    with CloudRun(shapes) as run:
        yield run


def metadata(run: CloudRun, path: str, **headers: str) -> httpx.Response:
    sent = {"Metadata-Flavor": "Google", **headers}
    return httpx.get(run.system.metadata.url("api") + "/computeMetadata/v1" + path, headers=sent, trust_env=False)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/project/project-id", "offline-project"),
        ("/instance/region", "projects/123456789012/regions/europe-west1"),
        ("/instance/service-accounts/default/email", "orders-api@offline-project.iam.gserviceaccount.com"),
    ],
)
def test_metadata_is_told(run: CloudRun, path: str, text: str) -> None:
    response = metadata(run, path)
    assert (response.status_code, response.text, response.headers["metadata-flavor"]) == (200, text, "Google")


def test_metadata_is_told_to_nobody_without_the_header(run: CloudRun) -> None:
    response = httpx.get(run.system.metadata.url("api") + "/computeMetadata/v1/project/project-id", trust_env=False)
    assert response.status_code == 403


def test_access_tokens_are_given(run: CloudRun) -> None:
    token = metadata(run, "/instance/service-accounts/default/token").json()
    assert token["access_token"] in run.system.metadata.tokens


def request(*, project: bool = True) -> ExportTraceServiceRequest:
    message = ExportTraceServiceRequest()
    part = message.resource_spans.add()
    if project:
        pair = part.resource.attributes.add()
        pair.key = "gcp.project_id"
        pair.value.string_value = "offline-project"
    span = part.scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = b"\1" * 16, b"\2" * 8, "span"
    return message


def export(run: CloudRun, body: bytes, **headers: str) -> httpx.Response:
    sent = {"content-type": "application/x-protobuf", **headers}
    return httpx.post(run.system.telemetry_api.url() + "/v1/traces", content=body, headers=sent, trust_env=False)


def test_spans_are_stored_whatever_the_encoding_of_the_body(run: CloudRun) -> None:
    body = request().SerializeToString()
    before = run.span_ids()["02" * 8]
    assert export(run, body).status_code == 200
    assert export(run, gzip.compress(body), **{"content-encoding": "gzip"}).status_code == 200
    chunked = httpx.post(
        run.system.telemetry_api.url() + "/v1/traces",
        content=iter([body[:5], body[5:]]),
        headers={"content-type": "application/x-protobuf"},
        trust_env=False,
    )
    assert chunked.status_code == 200
    assert run.span_ids()["02" * 8] == before + 3


def signed(run: CloudRun, authorization: str | None) -> httpx.Response:
    sent = {"content-type": "application/x-protobuf"} | ({"authorization": authorization} if authorization else {})
    body = request().SerializeToString()
    trusted = ssl.create_default_context(cafile=str(run.system.authority.bundle))
    url = run.system.telemetry_api.signed_url() + "/v1/traces"
    return httpx.post(url, content=body, headers=sent, trust_env=False, verify=trusted)


def test_without_a_token_of_the_metadata_servers_nothing_is_stored(run: CloudRun) -> None:
    token = metadata(run, "/instance/service-accounts/default/token").json()["access_token"]
    before = run.span_ids()
    for wrong in (None, "Bearer", "Bearer x", f"Basic {token}", f"Bearer {token}x", token):
        response = signed(run, wrong)
        assert (response.status_code, "UNAUTHENTICATED" in response.text) == (401, True), wrong
    assert run.span_ids() == before
    assert signed(run, f"Bearer {token}").status_code == 200
    assert run.span_ids() != before


def test_nobody_trusts_the_certificate_without_being_told(run: CloudRun) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(run.system.telemetry_api.signed_url(), trust_env=False)


@pytest.fixture(scope="module")
def over_grpc(variant: Variant) -> Iterator[CloudRun]:
    with CloudRun(variant(env={PROTOCOL: GRPC})) as run:
        yield run


def call(run: CloudRun, body: bytes, token: str | None = None, *, signed: bool = False) -> grpc.StatusCode:
    """Export over gRPC and return the status."""
    api = run.system.telemetry_api
    target = (api.signed_url(GRPC) if signed else api.url(GRPC)).partition("//")[2]
    trusted = grpc.ssl_channel_credentials(run.system.authority.bundle.read_bytes())
    with grpc.secure_channel(target, trusted) if signed else grpc.insecure_channel(target) as channel:
        export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
        )
        try:
            export(body, metadata=(("authorization", token),) if token else (), timeout=5)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK


def test_over_grpc_it_asks_for_the_same(over_grpc: CloudRun) -> None:
    run, body = over_grpc, request().SerializeToString()
    assert call(run, body) is grpc.StatusCode.OK
    assert call(run, request(project=False).SerializeToString()) is grpc.StatusCode.INVALID_ARGUMENT
    assert call(run, b"\xff\xff\xff") is grpc.StatusCode.INVALID_ARGUMENT
    token = metadata(run, "/instance/service-accounts/default/token").json()["access_token"]
    stored = run.span_ids()
    assert call(run, body, signed=True) is grpc.StatusCode.UNAUTHENTICATED
    assert call(run, body, f"Bearer {token}x", signed=True) is grpc.StatusCode.UNAUTHENTICATED
    assert run.span_ids() == stored
    assert call(run, body, f"Bearer {token}", signed=True) is grpc.StatusCode.OK
    assert run.span_ids() != stored
    run.back_end(status=503)
    assert call(run, body) is grpc.StatusCode.UNAVAILABLE
    run.back_end(status=429)
    assert call(run, body) is grpc.StatusCode.RESOURCE_EXHAUSTED
    run.back_end()
    run.stop_back_end()
    assert call(run, body) is grpc.StatusCode.UNAVAILABLE
    run.resume_back_end()
    assert call(run, body) is grpc.StatusCode.OK


def test_an_export_without_project_is_refused_whole(run: CloudRun) -> None:
    before = run.span_ids()
    response = export(run, request(project=False).SerializeToString())
    assert (response.status_code, "gcp.project_id is missing" in response.text) == (400, True)
    assert run.span_ids() == before


def test_what_is_no_otlp_is_refused(run: CloudRun) -> None:
    assert export(run, b"\xff\xff\xff").status_code == 400
    assert export(run, b"{}", **{"content-type": "application/json"}).status_code == 415


def attributes(span: TracedSpan, count: int, key: str = "k", value: str = "v") -> None:
    for number in range(count):
        pair = span.attributes.add()
        pair.key, pair.value.string_value = f"{key}{number}", value


def name(span: TracedSpan) -> None:
    span.name = "n" * 1025


ABOVE_A_LIMIT: dict[str, Callable[[TracedSpan], object]] = {
    "name": name,
    "key": lambda span: attributes(span, 1, key="k" * 512),
    "value": lambda span: attributes(span, 1, value="v" * (64 * 1024 + 20)),
    "attributes": lambda span: attributes(span, 1025),
    "events": lambda span: [span.events.add() for _ in range(257)],
    "links": lambda span: [span.links.add() for _ in range(129)],
}


@pytest.mark.parametrize("limit", ABOVE_A_LIMIT)
def test_a_span_above_a_documented_limit_is_refused(run: CloudRun, limit: str) -> None:
    message = request()
    ABOVE_A_LIMIT[limit](message.resource_spans[0].scope_spans[0].spans[0])
    response = export(run, message.SerializeToString())
    assert (response.status_code, "allowed" in response.text) == (400, True)


def test_an_export_above_the_limit_of_all_its_attributes_is_refused(run: CloudRun) -> None:
    message = request()
    spans = message.resource_spans[0].scope_spans[0].spans
    attributes(spans[0], 1024)
    for _ in range(7):
        spans.add().CopyFrom(spans[0])
    response = export(run, message.SerializeToString())
    assert (response.status_code, "8193 attributes" in response.text) == (400, True)


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"A" * 300_000 + b"\r\n\r\n"]
)
def test_what_is_no_http_is_answered_with_a_4xx_and_the_service_goes_on(run: CloudRun, garbage: bytes) -> None:
    host, port = run.url().removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(garbage)
        assert connection.recv(12).startswith(b"HTTP/1.1 4")
    assert run.get("/plain").status == 200
    assert run.instance().frozen
