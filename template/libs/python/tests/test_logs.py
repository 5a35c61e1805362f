from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
from opentelemetry import context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from vectors import vectors

from tracerun import logs
from tracerun.logs import SPAN_ID, TRACE, TRACE_SAMPLED, CloudLoggingFormatter
from tracerun.request_log import NotTwice, RequestLog


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def logger(output: io.StringIO) -> logging.Logger:
    logger = logging.Logger("shop")  # noqa: LOG001 (not one of the process)
    handler = logging.StreamHandler(output)
    handler.setFormatter(CloudLoggingFormatter())
    logger.addHandler(handler)
    return logger


def entries(output: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


@pytest.mark.parametrize("case", vectors("logs")["entries"], ids=lambda case: case["name"])
def test_entries_are_the_same_in_every_language(
    case: dict[str, Any], logger: logging.Logger, output: io.StringIO
) -> None:
    where = context.Context()
    if "span" in case:
        ids = case["span"]
        flags = TraceFlags(int(ids["sampled"]))
        span = SpanContext(int(ids["trace_id"], 16), int(ids["span_id"], 16), is_remote=False, trace_flags=flags)
        where = set_span_in_context(NonRecordingSpan(span))
    token = context.attach(where)
    try:
        logger.log(getattr(logging, case["level"].upper()), case["message"], extra=case.get("fields"))
    finally:
        context.detach(token)
    (entry,) = entries(output)
    assert entry.pop("logger") == "shop"
    assert entry.pop("time").endswith("Z")
    assert entry == case["expect"]


def test_a_stack_trace_stands_in_the_message(logger: logging.Logger, output: io.StringIO) -> None:
    try:
        raise RuntimeError("broken")  # noqa: TRY301 (its trace is wanted)
    except RuntimeError:
        logger.exception("pricing failed")
    (entry,) = entries(output)
    lines = entry["message"].splitlines()
    assert lines[:2] == ["pricing failed", "Traceback (most recent call last):"]
    assert lines[-1] == "RuntimeError: broken"


def test_a_field_cannot_take_the_place_of_a_fixed_one(logger: logging.Logger, output: io.StringIO) -> None:
    logger.info("real", extra={"severity": "ALERT", TRACE: "forged", "own": {1, 2}})
    (entry,) = entries(output)
    assert entry["severity"] == "INFO"
    assert TRACE not in entry
    assert entry["own"] == "{1, 2}"


def test_the_final_decision_wins(logger: logging.Logger, output: io.StringIO) -> None:
    span = SpanContext(1, 2, is_remote=False)
    logger.info("ended", extra={"span_context": span, TRACE_SAMPLED: True})
    (entry,) = entries(output)
    assert (entry[TRACE], entry[SPAN_ID], entry[TRACE_SAMPLED]) == (f"{1:032x}", f"{2:016x}", True)


def test_configure_leaves_an_owners_handlers_alone(output: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    own = logging.NullHandler()
    monkeypatch.setattr(root, "handlers", [own])
    logs.configure(output)
    assert root.handlers == [own]


def test_configure_writes_json_where_no_terminal_is(output: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    logs.configure(output)
    try:
        logging.getLogger("any").info("hello")
        assert entries(output)[0]["message"] == "hello"
    finally:
        logging.captureWarnings(capture=False)


SPAN = NonRecordingSpan(SpanContext(1, 2, is_remote=False))


def test_the_access_line_says_what_came_of_the_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    RequestLog("GET", "/items/7", "1.1").ended(200, 0.25, SPAN, None, kept=True)
    (record,) = caplog.records
    request = record.httpRequest  # type: ignore[attr-defined]
    assert record.getMessage() == "GET /items/7 200"
    assert {key: request[key] for key in ("requestMethod", "requestUrl", "status", "protocol")} == {
        "requestMethod": "GET",
        "requestUrl": "/items/7",
        "status": 200,
        "protocol": "HTTP/1.1",
    }
    assert request["latency"] == "0.250000s"


def test_an_exception_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    error = RuntimeError("broken")
    RequestLog("GET", "/items/7", "1.1").ended(500, 0.25, SPAN, error, kept=True)
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("ERROR", "RuntimeError: broken")
    again = logging.makeLogRecord({"exc_info": (RuntimeError, error, None)})
    other = logging.makeLogRecord({"exc_info": (RuntimeError, RuntimeError("other"), None)})
    assert not NotTwice().filter(again)
    assert NotTwice().filter(other)
    assert NotTwice().filter(logging.makeLogRecord({}))
