from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from spans import span

from tracerun.otlp import TIMEOUT, Answer, Outcome, otlp
from tracerun.otlp_grpc import LARGEST_MESSAGE, otlp_grpc
from tracerun.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracerun.otlp import Export

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class BackEnd(grpc.GenericRpcHandler):
    """A real gRPC server that takes spans, or answers as it is told to."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.metadata: dict[str, str | bytes] = {}
        self.code: grpc.StatusCode | None = None
        self.retry_info: bytes | None = None
        self.retry_key = "google.rpc.retryinfo-bin"
        self.rejected = 0
        self.pause = 0.0
        self.peers: list[str] = []
        self.released = threading.Event()
        self.refuses = ""
        self._server = grpc.server(ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers((self,))
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._export) if details.method == METHOD else None

    def _export(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        self.metadata = dict(context.invocation_metadata())
        self.peers.append(context.peer())
        self.released.wait(self.pause)
        if self.retry_info is not None:
            context.set_trailing_metadata(((self.retry_key, self.retry_info),))
        if self.code is not None:
            context.abort(self.code, "as told")
        names = [
            span.name
            for part in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in part.scope_spans
            for span in scope.spans
        ]
        if self.refuses in names:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "one is bad")
        self.stored += names
        response = ExportTraceServiceResponse()
        response.partial_success.rejected_spans = self.rejected
        return response.SerializeToString()


@pytest.fixture
def back_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[BackEnd]:
    back_end = BackEnd()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", back_end.url)
    yield back_end
    back_end.stop()


@pytest.fixture
def export(back_end: BackEnd) -> Export:
    assert back_end.url
    return otlp_grpc(signed=False)


def test_spans_arrive(back_end: BackEnd, export: Export) -> None:
    assert export([span("a"), span("b")]) == Answer(Outcome.DELIVERED)
    assert back_end.stored == ["a", "b"]


def test_spans_that_a_back_end_rejects_are_counted(back_end: BackEnd, export: Export) -> None:
    back_end.rejected = 3
    assert export([span("a")]) == Answer(Outcome.DELIVERED, lost=3)


@pytest.mark.parametrize(
    "code", [code for code in grpc.StatusCode if code not in {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}]
)
def test_another_try_may_help(back_end: BackEnd, export: Export, code: grpc.StatusCode) -> None:
    back_end.code = code
    assert export([span("a")]) == Answer(Outcome.FAILED)
    back_end.code = None
    assert export([span("a")]) == Answer(Outcome.DELIVERED)


@pytest.mark.parametrize(
    ("asked", "kept"), [(Duration(seconds=7, nanos=500_000_000), 7.5), (Duration(seconds=10**6), 60), (Duration(), 0)]
)
def test_a_pause_that_the_back_end_asks_for_is_kept(
    back_end: BackEnd, export: Export, asked: Duration, kept: float
) -> None:
    back_end.code = grpc.StatusCode.RESOURCE_EXHAUSTED
    back_end.retry_info = RetryInfo(retry_delay=asked).SerializeToString()
    assert export([span("a")]) == Answer(Outcome.FAILED, retry_after=kept)


def test_a_pause_in_the_details_of_the_status_is_kept_too(back_end: BackEnd, export: Export) -> None:
    status = Status()
    status.details.add().Pack(Duration(seconds=1))
    status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=30)))
    back_end.code = grpc.StatusCode.UNAVAILABLE
    back_end.retry_key, back_end.retry_info = "grpc-status-details-bin", status.SerializeToString()
    assert export([span("a")]) == Answer(Outcome.FAILED, retry_after=30)


def test_a_back_end_that_did_not_answer_gets_another_connection(back_end: BackEnd, export: Export) -> None:
    assert export([span("a")]) == Answer(Outcome.DELIVERED)
    back_end.pause = 2 * TIMEOUT
    assert export([span("b")]) == Answer(Outcome.FAILED)
    back_end.pause = 0
    assert export([span("c")]) == Answer(Outcome.DELIVERED)
    first, second, third = back_end.peers
    assert first == second != third


def test_an_export_may_take_as_long_as_a_response_waits(back_end: BackEnd) -> None:
    back_end.pause = 1.0
    assert otlp(Settings(grpc=True, flush_deadline=1))([span("a")]) == Answer(Outcome.DELIVERED)


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff", RetryInfo(retry_delay=Duration(seconds=-5)).SerializeToString()])
def test_a_pause_that_makes_no_sense_is_none(back_end: BackEnd, export: Export, garbage: bytes) -> None:
    back_end.code = grpc.StatusCode.UNAVAILABLE
    back_end.retry_info = garbage
    assert export([span("a")]) == Answer(Outcome.FAILED)


def test_one_span_that_is_refused_costs_no_other(back_end: BackEnd) -> None:
    back_end.refuses = "bad"
    answer = otlp(Settings(grpc=True))([span(name) for name in ("a", "b", "bad", "c")])
    assert answer == Answer(Outcome.DELIVERED, lost=1)
    assert sorted(back_end.stored) == ["a", "b", "c"]


def test_an_export_larger_than_a_server_takes_is_sent_in_parts(back_end: BackEnd) -> None:
    spans = [span(f"{number}", text="x" * 60_000) for number in range(LARGEST_MESSAGE // 60_000 + 10)]
    export = otlp(Settings(grpc=True))
    answers = (export(spans) for _ in range(5))
    # On a busy machine so much may take longer than one export may take, which is another try's matter.
    assert next(answer for answer in answers if answer.outcome is not Outcome.FAILED) == Answer(Outcome.DELIVERED)
    assert set(back_end.stored) == {each.name for each in spans}


def test_a_span_that_cannot_be_encoded_is_refused(export: Export) -> None:
    assert export([span(3)]) == Answer(Outcome.REFUSED, lost=1)  # type: ignore[arg-type]


def test_headers_of_the_environment_are_sent(back_end: BackEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "X-Key=a%20b,other=c")
    otlp_grpc(signed=False)([span("a")])
    assert (back_end.metadata["x-key"], back_end.metadata["other"]) == ("a b", "c")


@pytest.mark.parametrize("url", ["localhost:4317", "", "ftp://a", "http://"])
def test_an_end_point_that_is_no_url_is_named_with_its_cure(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    if not url:
        otlp_grpc(signed=False)
        return
    with pytest.raises(ValueError, match=f"OTEL_EXPORTER_OTLP_ENDPOINT={url}: use a URL such as http://localhost:4317"):
        otlp_grpc(signed=False)


@pytest.mark.parametrize("grpc_asked", [True, False])
@pytest.mark.parametrize("url", ["http://telemetry.googleapis.com", "localhost:4317", ""])
def test_no_token_is_sent_in_plain_text(url: str, grpc_asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    with pytest.raises(ValueError, match="would send its token in plain text"):
        otlp(Settings(sign_exports=True, grpc=grpc_asked))


def test_nobody_who_listens_is_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    assert otlp_grpc(signed=False)([span("a")]) == Answer(Outcome.FAILED)


def test_an_exporter_that_is_made_again_at_each_try_leaves_nothing_behind(export: Export) -> None:
    before = list(logging.getLogger("opentelemetry.attributes").filters)
    assert before, "nothing quietens the exporter: nothing is proven"
    for _ in range(3):
        otlp_grpc(signed=False)
    assert logging.getLogger("opentelemetry.attributes").filters == before
    assert export([span("a")]) == Answer(Outcome.DELIVERED)
