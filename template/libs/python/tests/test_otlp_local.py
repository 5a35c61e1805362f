from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from spans import span

from tracerun.otlp import Answer, Outcome, otlp
from tracerun.otlp_local import otlp_local
from tracerun.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tracerun.otlp import Export


class Collector:
    """A real HTTP server that takes spans, or answers as it is told to."""

    def __init__(self) -> None:
        collector = self
        self.stored: list[Any] = []
        self.headers: Mapping[str, str] = {}
        self.paths: list[str] = []
        self.connections = 0
        self.status = 200
        self.answer = b""
        self.answer_headers: dict[str, str] = {}
        self.hang_up = False
        self.pause = 0.0
        self._stopped = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                collector.connections += 1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers["content-encoding"] == "gzip":
                    body = gzip.decompress(body)
                collector.headers = {name.lower(): value for name, value in self.headers.items()}
                collector.paths.append(self.path)
                collector._stopped.wait(collector.pause)
                if collector.status < 300:
                    for part in ExportTraceServiceRequest.FromString(body).resource_spans:
                        collector.stored += [span for scope in part.scope_spans for span in scope.spans]
                self.send_response(collector.status)
                for name, value in {"content-length": str(len(collector.answer)), **collector.answer_headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(collector.answer)
                # Without a word of it in the answer, as a server does whose patience is over.
                self.close_connection = collector.hang_up

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name in the library)
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that has hung up

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    yield collector
    collector.stop()


@pytest.fixture
def export(collector: Collector) -> Export:
    assert collector.url
    export = otlp_local()
    assert export is not None
    return export


def test_spans_arrive_over_one_connection(collector: Collector, export: Export) -> None:
    for name in "abc":
        assert export([span(name)]) == Answer(Outcome.DELIVERED)
    assert [each.name for each in collector.stored] == ["a", "b", "c"]
    assert set(collector.paths) == {"/v1/traces"}
    assert collector.connections == 1


def test_a_connection_that_was_closed_meanwhile_costs_nothing(collector: Collector, export: Export) -> None:
    collector.hang_up = True
    for name in "abc":
        assert export([span(name)]) == Answer(Outcome.DELIVERED)
    assert [each.name for each in collector.stored] == ["a", "b", "c"]
    assert collector.connections == 3


def test_spans_that_the_collector_rejects_are_counted(collector: Collector, export: Export) -> None:
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 2
    collector.answer = response.SerializeToString()
    assert export([span("a"), span("b"), span("c")]) == Answer(Outcome.DELIVERED, lost=2)
    collector.answer = ExportTraceServiceResponse(partial_success=ExportTracePartialSuccess()).SerializeToString()
    assert export([span("a")]) == Answer(Outcome.DELIVERED)
    collector.answer = b"OK, whatever"
    assert export([span("a")]) == Answer(Outcome.DELIVERED)


@pytest.mark.parametrize("status", [302, 304, 401, 403, 404, 429, 500, 502, 503, 504])
def test_another_try_may_help(collector: Collector, export: Export, status: int) -> None:
    collector.status = status
    assert export([span("a")]) == Answer(Outcome.FAILED)
    collector.status = 200
    assert export([span("a")]) == Answer(Outcome.DELIVERED)


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_another_try_will_not_help(collector: Collector, export: Export, status: int) -> None:
    collector.status = status
    assert export([span("a"), span("b")]) == Answer(Outcome.REFUSED, lost=2)


@pytest.mark.parametrize(("asked", "kept"), [("7", 7), ("999999", 60), ("-1", 0), ("soon", 0), ("²", 0), ("", 0)])
def test_a_pause_that_the_collector_asks_for_is_kept(
    collector: Collector, export: Export, asked: str, kept: float
) -> None:
    collector.status = 503
    collector.answer_headers = {"retry-after": asked}
    assert export([span("a")]) == Answer(Outcome.FAILED, retry_after=kept)


@pytest.mark.parametrize("size", [1 << 10, 1 << 20])
def test_an_answer_of_any_size_is_read_no_further_than_it_is_of_use(
    collector: Collector, export: Export, size: int
) -> None:
    collector.status = 503
    collector.answer = b"x" * size
    for _ in range(3):
        assert export([span("a")]) == Answer(Outcome.FAILED)
    assert collector.connections == (1 if size < 1 << 16 else 3)


def test_an_attribute_that_otlp_cannot_say_is_left_out(collector: Collector, export: Export) -> None:
    assert export([span("a", large=1 << 70, small=1)]) == Answer(Outcome.DELIVERED)
    (stored,) = collector.stored
    assert [pair.key for pair in stored.attributes] == ["small"]


def test_one_span_that_can_never_be_sent_costs_no_other(collector: Collector) -> None:
    spans = [span("a"), span(3), span("b")]  # type: ignore[arg-type]
    assert otlp(Settings())(spans) == Answer(Outcome.DELIVERED, lost=1)
    assert sorted(each.name for each in collector.stored) == ["a", "b"]


def test_headers_of_the_environment_are_sent(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "X-Key=a%20b,other=c")
    export = otlp_local()
    assert export is not None
    export([span("a")])
    assert (collector.headers["x-key"], collector.headers["other"]) == ("a b", "c")
    assert collector.headers["content-type"] == "application/x-protobuf"


def test_the_end_point_for_traces_is_used_as_it_is(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/own/path?a=b")
    export = otlp_local()
    assert export is not None
    assert export([span("a")]) == Answer(Outcome.DELIVERED)
    assert collector.paths == ["/own/path?a=b"]


def test_an_answer_that_breaks_off_is_another_try(collector: Collector, export: Export) -> None:
    collector.answer = b"short"
    collector.answer_headers = {"content-length": "100"}
    collector.hang_up = True
    assert export([span("a")]) == Answer(Outcome.FAILED)
    collector.answer, collector.answer_headers = b"", {}
    assert export([span("a")]) == Answer(Outcome.DELIVERED)


exporters = pytest.mark.parametrize("compression", ["none", "gzip"], ids=["local", "official"])


@exporters
@pytest.mark.parametrize(
    ("deadline", "outcome"), [(1.0, Outcome.DELIVERED), (Settings().flush_deadline, Outcome.FAILED)]
)
def test_an_export_may_take_as_long_as_a_response_waits(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, compression: str, deadline: float, outcome: Outcome
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
    collector.pause = 1.0
    assert otlp(Settings(flush_deadline=deadline))([span("a")]) == Answer(outcome)


@exporters
def test_a_failed_export_is_not_tried_again_here(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
    collector.status = 503
    assert otlp(Settings(flush_deadline=5))([span("a")]) == Answer(Outcome.FAILED)
    assert len(collector.paths) == 1


def test_nobody_who_listens_is_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    export = otlp_local()
    assert export is not None
    assert export([span("a")]) == Answer(Outcome.FAILED)


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost:4318",
        "http://collector:4318",
        "http://localhost.evil",
        "x",
        "http://[",
        "http://localhost:x",
        "http://u:p@localhost",
    ],
)
def test_the_official_exporter_serves_for_all_else(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    assert otlp_local() is None


def test_it_serves_for_compression_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    assert otlp_local() is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    assert otlp_local() is not None
