from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx
import pytest
from fetches import fetch_blocking, handled
from opentelemetry.trace import StatusCode
from served import Served
from servers import Answer, Callee
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tracerun.caller_limits import REQUEST_ATTEMPT, REQUEST_TIMEOUT
from tracerun.httpx import AsyncTracedTransport

if TYPE_CHECKING:
    from fetches import Fetch
    from opentelemetry.sdk.trace import ReadableSpan
    from recorder import Recorder
    from starlette.requests import Request

    from tracerun import Telemetry


def attempts(callee: Callee) -> list[str | None]:
    return [call.headers[REQUEST_ATTEMPT] for call in callee.received]


def client_spans(telemetry: Telemetry, recorder: Recorder) -> list[ReadableSpan]:
    assert telemetry.flush is not None
    telemetry.flush.force_flush()
    return recorder.spans


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_a_503_is_tried_again_and_each_try_has_its_span(
    fetch: Fetch, method: str, callee: Callee, telemetry: Telemetry, recorder: Recorder
) -> None:
    callee.answers.append(Answer(503))
    assert fetch(callee.url, method, content=b"body").status_code == 200
    assert attempts(callee) == [None, "2"]
    first, second = client_spans(telemetry, recorder)
    assert (first.attributes or {})["http.response.status_code"] == 503
    assert "http.request.resend_count" not in (first.attributes or {})
    assert (second.attributes or {})["http.response.status_code"] == 200
    assert (second.attributes or {})["http.request.resend_count"] == 1
    parents = [call.headers["traceparent"].split("-")[2] for call in callee.received]
    assert parents == [f"{span.context.span_id:016x}" for span in (first, second) if span.context]


def test_a_connection_that_fails_is_tried_again(
    fetch: Fetch, callee: Callee, telemetry: Telemetry, recorder: Recorder
) -> None:
    callee.stop()
    with pytest.raises(httpx.ConnectError):
        fetch(callee.url)
    spans = client_spans(telemetry, recorder)
    assert [(span.attributes or {})["error.type"] for span in spans] == ["httpx.ConnectError"] * 2
    assert [(span.attributes or {}).get("http.request.resend_count") for span in spans] == [None, 1]


def test_a_second_failure_is_the_answer(fetch: Fetch, callee: Callee, telemetry: Telemetry, recorder: Recorder) -> None:
    callee.answers.extend([Answer(503)] * 5)
    assert fetch(callee.url).status_code == 503
    assert attempts(callee) == [None, "2"]
    assert [span.status.status_code for span in client_spans(telemetry, recorder)] == [StatusCode.ERROR] * 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_must_not_happen_twice_is_not_tried_again(fetch: Fetch, method: str, callee: Callee) -> None:
    callee.answers.append(Answer(503))
    assert fetch(callee.url, method).status_code == 503
    assert len(callee.received) == 1


def test_a_streamed_body_is_not_sent_again(fetch: Fetch, callee: Callee) -> None:
    callee.answers.append(Answer(503))
    assert fetch(callee.url, "PUT", content=[b"a", b"b"]).status_code == 503
    assert len(callee.received) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 504])
def test_other_errors_are_the_answer(fetch: Fetch, status: int, callee: Callee) -> None:
    callee.answers.append(Answer(status))
    assert fetch(callee.url).status_code == status
    assert len(callee.received) == 1


def test_a_time_out_is_not_tried_again(fetch: Fetch, callee: Callee) -> None:
    callee.answers.append(Answer(delay=30))
    with pytest.raises(httpx.ReadTimeout):
        fetch(callee.url, timeout=0.2)
    assert len(callee.received) == 1


def test_without_time_for_it_nothing_is_tried_again(
    fetch: Fetch, callee: Callee, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracerun.retries._PAUSES", (3.0, 4.0))
    callee.answers.append(Answer(503))
    assert fetch(callee.url, timeout=2).status_code == 503
    callee.answers.append(Answer(503))
    assert fetch(callee.url, timeout=30, handling=handled({REQUEST_TIMEOUT: "2000"})).status_code == 503
    assert len(callee.received) == 2


def test_both_tries_share_the_time(fetch: Fetch, callee: Callee) -> None:
    callee.answers.extend([Answer(503, delay=1.5), Answer(delay=30)])
    began = time.monotonic()
    with pytest.raises(httpx.ReadTimeout):
        fetch(callee.url, timeout=3)
    first, second = (call.headers[REQUEST_TIMEOUT] for call in callee.received)
    assert int(second) <= int(first) - 1500
    assert time.monotonic() - began < 4.2


def test_who_handles_a_second_try_does_not_try_again(fetch: Fetch, callee: Callee) -> None:
    callee.answers.append(Answer(503))
    assert fetch(callee.url, handling=handled({REQUEST_ATTEMPT: "2"})).status_code == 503
    assert attempts(callee) == ["2"]


def test_a_caller_that_is_not_trusted_does_not_stop_retries(fetch: Fetch, callee: Callee) -> None:
    callee.answers.append(Answer(503))
    assert fetch(callee.url, handling=handled({REQUEST_ATTEMPT: "2"}, trust=False)).status_code == 200
    assert attempts(callee) == [None, "2"]


def test_a_redirect_after_a_second_try_is_a_first_one(fetch: Fetch, callee: Callee) -> None:
    callee.answers.extend([Answer(503), Answer(307, {"Location": "/elsewhere"})])
    assert fetch(callee.url).status_code == 200
    assert attempts(callee) == [None, "2", None]


def test_tries_grow_by_one_a_hop(callee: Callee) -> None:
    """Four callers in a row and a callee that is always down: five tries reach it, where 16 could."""

    def passing_on(url: str) -> Starlette:
        async def handle(_: Request) -> Response:
            async with httpx.AsyncClient(transport=AsyncTracedTransport(), timeout=20) as client:
                answer = await client.get(url)
            return JSONResponse({}, answer.status_code)

        return Starlette(routes=[Route("/", handle)])

    callee.answers.extend([Answer(503)] * 100)
    with (
        Served(passing_on(callee.url)) as third,
        Served(passing_on(third.url)) as second,
        Served(passing_on(second.url)) as first,
    ):
        assert fetch_blocking(first.url, timeout=20).status_code == 503
    assert len(callee.received) == 5
