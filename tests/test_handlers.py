"""Streams, server-sent events, WebSockets, clients that leave, and work after the response."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloudrun import CloudRun

    from tests.journal import Journal


def until(condition: Callable[[], bool], what: str, seconds: float = 10) -> None:
    """Poll what no event tells of: the state of another process."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.01)


def test_spans_of_an_open_stream_leave_while_it_is_open(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(shapes)
    with httpx.stream("GET", run.url() + "/endless", trust_env=False) as response:
        chunks = response.iter_raw()  # kept: to drop it would close the response
        next(chunks)
        inner = run.get("/plain")
        assert not run.instance().frozen, "an open stream is an active request"
        # Nothing was held for it, since the instance was busy: it leaves within the second that a span waits at most.
        run.wait_for_trace(inner.trace_id, 2)


def test_a_client_that_leaves_costs_no_span_once_there_is_cpu(
    start: Callable[..., CloudRun], shapes: Path, journal: Journal
) -> None:
    run = start(shapes)
    with httpx.stream("GET", run.url() + "/endless", trust_env=False) as response:
        next(response.iter_raw())
    until(lambda: run.instance().frozen, "the freeze after the client left")
    ended = run.terminate()
    assert ended.code == 0, run.logs()
    assert sum(journal.started().values()) == 1
    assert run.span_ids() == journal.started()


def test_a_websocket_that_the_service_closes_has_delivered_its_spans(
    start: Callable[..., CloudRun], shapes: Path, journal: Journal
) -> None:
    run = start(shapes)
    with connect(run.url().replace("http", "ws") + "/socket", proxy=None) as socket:
        socket.send("hello")
        assert socket.recv() == "HELLO"
        assert not run.instance().frozen
        socket.send("close")
        with pytest.raises(ConnectionClosed):
            socket.recv()
        assert run.span_ids() == journal.started(), "the close frame came before the spans were delivered"
    (trace_id,) = run.trace_ids()
    trace = run.trace(trace_id)
    server = trace.one("SERVER GET /socket")
    assert server.attributes["http.response.status_code"] == 101
    assert trace.one("INTERNAL child").parent_id == server.span_id
    until(lambda: run.instance().frozen, "the freeze after the WebSocket was closed")


def test_a_websocket_that_the_client_closes_loses_nothing_until_shutdown(
    start: Callable[..., CloudRun], shapes: Path, journal: Journal
) -> None:
    run = start(shapes)
    with connect(run.url().replace("http", "ws") + "/socket", proxy=None) as socket:
        socket.send("hello")
        socket.recv()
    until(lambda: run.instance().frozen, "the freeze after the WebSocket was closed")
    assert run.terminate().code == 0
    assert sum(journal.started().values()) == 1
    assert run.span_ids() == journal.started()


def test_work_after_the_response_has_no_cpu_is_said_and_delivered_at_shutdown(
    start: Callable[..., CloudRun], shapes: Path, journal: Journal
) -> None:
    run = start(shapes)
    reply = run.get("/background")
    assert run.trace(reply.trace_id).one("SERVER GET /background")
    frozen = run.span_ids()
    assert sum(frozen.values()) == 1, "the background work was done before the response was complete"
    assert run.terminate().code == 0
    assert run.span_ids() == journal.started()
    assert run.trace(reply.trace_id).one("INTERNAL background work")
    warnings = [line for line in run.logs() if "started while no request was active" in line]
    assert len(warnings) == 1, run.logs()


def test_work_after_the_response_goes_on_with_the_next_request(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(shapes)
    reply = run.get("/background")
    run.get("/slow?seconds=0.3")
    run.wait_for_trace(reply.trace_id, 2)


def test_bodies_and_headers_pass_unchanged(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(shapes)
    body = bytes(range(256)) * 4096
    assert run.request("POST", "/echo", content=body).content == body
    seen = json.loads(run.get("/headers", headers={"x-own": "1", "tracestate": "a=b"}).content)
    assert (seen["x-own"], seen["tracestate"]) == ("1", "a=b")
