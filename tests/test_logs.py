"""Every line that a service writes is structured, and those of a request are joined to its trace."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloudrun import CloudRun, Reply

TRACE = "logging.googleapis.com/trace"
SPAN_ID = "logging.googleapis.com/spanId"
SAMPLED = "logging.googleapis.com/trace_sampled"


def entries(run: CloudRun) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.logs()]


def of(run: CloudRun, reply: Reply) -> list[dict[str, Any]]:
    return [entry for entry in entries(run) if entry.get(TRACE) == reply.trace_id]


def test_every_line_is_an_entry_with_severity_message_and_time(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(shapes)
    for path in ("/log", "/warn", "/crash"):
        run.get(path)
    run.terminate()
    found = entries(run)
    assert all({"severity", "message", "time"} <= set(entry) for entry in found)
    messages = [entry["message"] for entry in found]
    assert "Application startup complete." in messages, "uvicorn's own lines are missing"
    assert any("careful" in message for message in messages), "warnings.warn is missing"


def test_lines_of_a_request_carry_its_exported_spans(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(shapes)
    reply = run.get("/log?token=secret")
    trace = run.trace(reply.trace_id)
    server, child = trace.one("SERVER GET /log"), trace.one("INTERNAL child")
    by_message = {entry["message"]: entry for entry in of(run, reply)}
    assert by_message["in the handler"][SPAN_ID] == server.span_id
    assert by_message["in the child"][SPAN_ID] == child.span_id
    assert by_message["in the child"]["basket"] == 3
    access = by_message["GET /log 200"]
    assert access[SPAN_ID] == server.span_id
    assert access["httpRequest"].items() >= {"requestMethod": "GET", "requestUrl": "/log", "status": 200}.items()
    assert {entry[SAMPLED] for entry in by_message.values()} == {True}
    assert "secret" not in repr(by_message)


def test_the_last_lines_of_a_failed_request_carry_the_final_decision(
    start: Callable[..., CloudRun], shapes: Path
) -> None:
    run = start(shapes, OTEL_TRACES_SAMPLER_ARG="0")
    reply = run.get("/log?fail=1")
    found = of(run, reply)
    assert [entry[SAMPLED] for entry in found] == [False, False, True, True]
    error, access = found[-2:]
    assert error["severity"] == "ERROR"
    assert error["message"].splitlines()[:2] == ["RuntimeError: asked to", "Traceback (most recent call last):"]
    assert access["httpRequest"]["status"] == 500
    assert run.trace(reply.trace_id).one("SERVER GET /log").span_id == access[SPAN_ID]
    run.terminate()
    assert sum("asked to" in entry["message"] for entry in entries(run)) == 1, "the exception is logged twice"


def test_a_line_of_a_dropped_request_still_names_its_trace(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(
        shapes,
        OTEL_TRACES_SAMPLER_ARG="0",
        TRACERUN_KEEP_ERRORS="false",
        TRACERUN_KEEP_SLOWER_THAN_MS="0",
    )
    reply = run.get("/log")
    assert {entry[SAMPLED] for entry in of(run, reply)} == {False}
    assert len(of(run, reply)) == 3


def test_no_line_is_lost_at_sigterm(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(shapes)
    with ThreadPoolExecutor(8) as clients:
        replies = list(clients.map(lambda _: run.get("/log"), range(100)))
    run.terminate()
    for reply in replies:
        assert len(of(run, reply)) == 3
