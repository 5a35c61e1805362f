from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fetches import fetch_blocking, handled
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from served import Served
from servers import Answer, Callee
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from vectors import vectors

from tracerun.caller_limits import REQUEST_ATTEMPT, REQUEST_TIMEOUT, limits_in, with_limits
from tracerun.httpx import AsyncTracedTransport, DeadlineExceeded
from tracerun.propagation import TracePropagator, raw_headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fetches import Fetch
    from recorder import Recorder
    from starlette.requests import Request

    from tracerun import Telemetry


def told(callee: Callee) -> list[float | None]:
    """Return the seconds that the callee was told."""
    headers = [call.headers[REQUEST_TIMEOUT] for call in callee.received]
    return [None if text is None else int(text) / 1000 for text in headers]


def about(seconds: float) -> Any:
    """Compare as `seconds`, or what a busy machine makes of it until a request leaves."""
    return pytest.approx(seconds - 0.1, abs=0.101)


@pytest.mark.parametrize("case", vectors("limits")["cases"], ids=lambda case: case["name"])
@pytest.mark.parametrize("trust", [True, False])
def test_headers_mean_the_same_in_every_language(case: dict[str, Any], trust: bool) -> None:
    headers = {name: [value] if isinstance(value, str) else value for name, value in case["headers"].items()}
    propagator = TracePropagator(trust_callers=trust, google_backend=True)
    limits = limits_in(propagator.extract(headers, Context(), raw_headers))
    assert limits.attempt == (case["attempt"] if trust else 1)
    if case["milliseconds"] is None or not trust:
        assert limits.deadline is None
    else:
        assert limits.deadline is not None
        assert case["milliseconds"] / 1000 - 1 <= limits.deadline.left() <= case["milliseconds"] / 1000


texts = st.text(max_size=20) | st.integers(-10, 10**12).map(str) | st.just("9" * 100_000)


@given(st.dictionaries(st.sampled_from([REQUEST_TIMEOUT, REQUEST_ATTEMPT]), st.lists(texts, max_size=3)))
def test_no_header_raises_or_sets_what_is_no_limit(headers: dict[str, list[str]]) -> None:
    limits = limits_in(with_limits(Context(), headers, raw_headers))
    assert limits.attempt >= 1
    assert limits.deadline is None or 0 <= limits.deadline.left() < 10**6


def test_a_call_gets_no_more_time_than_the_caller_leaves(fetch: Fetch, callee: Callee) -> None:
    callee.answers.append(Answer(delay=8))
    began = time.monotonic()
    with pytest.raises(httpx.TimeoutException):
        fetch(callee.url, timeout=8, handling=handled({REQUEST_TIMEOUT: "1500"}))
    assert 1 <= time.monotonic() - began < 7
    (seconds,) = told(callee)
    assert seconds is not None
    assert 0 < seconds <= 1.5


def test_a_call_without_a_time_out_of_its_own_gets_what_the_caller_leaves(fetch: Fetch, callee: Callee) -> None:
    callee.answers.append(Answer(delay=8))
    with pytest.raises(httpx.TimeoutException):
        fetch(callee.url, timeout=None, handling=handled({REQUEST_TIMEOUT: "300"}))


def test_a_calls_own_time_out_is_not_lengthened(fetch: Fetch, callee: Callee) -> None:
    callee.answers.append(Answer(delay=8))
    began = time.monotonic()
    with pytest.raises(httpx.ReadTimeout):
        fetch(callee.url, timeout=0.3, handling=handled({REQUEST_TIMEOUT: "60000"}))
    assert time.monotonic() - began < 5
    assert told(callee) == [about(0.3)]


def test_time_that_passed_since_is_not_passed_on(fetch: Fetch, callee: Callee) -> None:
    handling = handled({REQUEST_TIMEOUT: "1000"})
    deadline = limits_in(handling).deadline
    assert deadline is not None
    while deadline.left() > 0.8:
        pass
    fetch(callee.url, handling=handling)
    (seconds,) = told(callee)
    assert seconds is not None
    assert seconds <= 0.8


def test_a_call_fails_at_once_when_no_time_is_left(
    fetch: Fetch, callee: Callee, telemetry: Telemetry, recorder: Recorder
) -> None:
    with pytest.raises(DeadlineExceeded, match=rf"no time is left for GET {callee.url}: this service's caller"):
        fetch(f"{callee.url}/items?token=secret", handling=handled({REQUEST_TIMEOUT: "0"}))
    assert issubclass(DeadlineExceeded, httpx.TimeoutException)
    assert callee.received == []
    assert telemetry.flush is not None
    telemetry.flush.force_flush()
    (span,) = recorder.spans
    assert (span.attributes or {})["error.type"] == "tracerun.time_limit.DeadlineExceeded"


def test_a_caller_that_is_not_trusted_sets_no_limit(fetch: Fetch, callee: Callee) -> None:
    fetch(callee.url, handling=handled({REQUEST_TIMEOUT: "0"}, trust=False))
    assert told(callee) == [about(5)]


def test_every_call_tells_its_own_time_out(fetch: Fetch, callee: Callee) -> None:
    fetch(callee.url)
    fetch(callee.url, timeout=httpx.Timeout(1, read=2))
    fetch(callee.url, timeout=None)
    assert told(callee) == [about(5), about(2), None]


def test_a_streamed_body_takes_its_time(fetch: Fetch, callee: Callee) -> None:
    fetch(callee.url, "POST", content=[b"a"])
    fetch(callee.url, "POST", content=[b"a"], handling=handled({REQUEST_TIMEOUT: "4000"}))
    first, second = told(callee)
    assert first is None
    assert second is not None
    assert second <= 4


def test_headers_that_an_app_passes_on_tell_nothing(fetch: Fetch, callee: Callee) -> None:
    fetch(callee.url, headers={REQUEST_TIMEOUT: "999999", REQUEST_ATTEMPT: "7"})
    fetch(callee.url, headers={REQUEST_TIMEOUT: "999999"}, timeout=None)
    assert told(callee) == [about(5), None]
    assert [call.headers[REQUEST_ATTEMPT] for call in callee.received] == [None, None]


def test_an_answer_that_drips_is_cut_when_the_time_is_over(fetch: Fetch, callee: Callee) -> None:
    callee.answers.append(Answer(drips=True))
    began = time.monotonic()
    with pytest.raises(httpx.TimeoutException):
        fetch(callee.url, timeout=30, handling=handled({REQUEST_TIMEOUT: "500"}))
    assert time.monotonic() - began < 5


def test_an_answer_that_drips_is_the_apps_affair_without_a_limit(fetch: Fetch, callee: Callee) -> None:
    callee.answers.append(Answer(drips=True))
    callee.drops = 20
    assert len(fetch(callee.url, timeout=0.5).content) == 20  # a second and more


def test_a_service_passes_the_limit_on_until_its_answer_begins(callee: Callee) -> None:
    """A real chain: what is done after the answer, or while it streams, has no limit of the caller's."""
    late: list[str | None] = []

    async def call() -> None:
        async with httpx.AsyncClient(transport=AsyncTracedTransport()) as client:
            await client.get(callee.url)

    async def call_late() -> None:
        deadline = limits_in().deadline
        assert deadline is not None
        assert deadline.left() == math.inf
        await call()
        late.append("called")

    async def plain(_: Request) -> JSONResponse:
        await call()
        return JSONResponse({}, background=BackgroundTask(call_late))

    async def streamed(_: Request) -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"a"
            await call_late()
            yield b"b"

        return StreamingResponse(chunks())

    with Served(Starlette(routes=[Route("/plain", plain), Route("/streamed", streamed)])) as service:
        assert fetch_blocking(f"{service.url}/plain", timeout=4).status_code == 200
        assert fetch_blocking(f"{service.url}/streamed", timeout=httpx.Timeout(5, read=4)).content == b"ab"
        service.stop()
    assert late == ["called", "called"]
    first, *rest = told(callee)
    assert first is not None
    assert first <= 4
    assert rest == [about(5), about(5)]


def test_a_service_answers_before_its_caller_gives_up(callee: Callee) -> None:
    callee.answers.append(Answer(delay=8))

    async def handle(_: Request) -> JSONResponse:
        async with httpx.AsyncClient(transport=AsyncTracedTransport(), timeout=30) as client:
            try:
                await client.get(callee.url)
            except httpx.TimeoutException:
                return JSONResponse({}, 504)
        return JSONResponse({})

    with Served(Starlette(routes=[Route("/", handle)])) as service:
        assert fetch_blocking(service.url, timeout=2).status_code == 504
        service.stop()


def test_a_caller_that_gives_up_stops_the_whole_chain(callee: Callee) -> None:
    callee.answers.append(Answer(delay=8))
    failed: list[str] = []

    async def handle(_: Request) -> JSONResponse:
        async with httpx.AsyncClient(transport=AsyncTracedTransport(), timeout=30) as client:
            try:
                await client.get(callee.url)
            except httpx.TimeoutException as error:
                failed.append(type(error).__name__)
        return JSONResponse({})

    with Served(Starlette(routes=[Route("/", handle)])) as service:
        began = time.monotonic()
        with contextlib.suppress(httpx.TimeoutException):  # both give up at the same moment
            fetch_blocking(service.url, timeout=0.3, headers={"Connection": "close"})
        service.stop()  # waits for the handler
    assert failed == ["ReadTimeout"]
    assert time.monotonic() - began < 5
