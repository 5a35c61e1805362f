"""The picture of a trace."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from cloudrun import Span, Trace
from cloudrun.waterfall import log_lines, waterfall
from rich.console import Console

if TYPE_CHECKING:
    from rich.console import RenderableType


def span(span_id: str, parent_id: str | None, start: int, end: int, **more: str) -> Span:
    return Span("t", span_id, parent_id, f"span {span_id}", "INTERNAL", "api", start, end, **more)  # type: ignore[arg-type]


def test_children_stand_below_their_parents_and_bars_share_one_scale() -> None:
    trace = Trace(
        "t",
        [
            span("a", "not here", 0, 100_000_000),
            span("c", "b", 50_000_000, 75_000_000, status="ERROR"),
            span("b", "a", 25_000_000, 75_000_000),
        ],
    )
    output = io.StringIO()
    Console(file=output, width=120).print(waterfall(trace))
    rows = [line.rstrip() for line in output.getvalue().splitlines()[2:]]
    assert [row.split("INTERNAL ")[1].split("  ")[0] for row in rows] == ["span a", "span b", "span c (failed)"]
    bars = [row[row.index("█") :] for row in rows]
    assert [len(bar) for bar in bars] == [32, 16, 8]
    assert [row.index("█") - rows[0].index("█") for row in rows] == [0, 8, 16]


def shown(picture: RenderableType | None, columns: int = 120) -> list[str]:
    output = io.StringIO()
    Console(file=output, width=columns).print(picture)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def three_services() -> Trace:
    steps = [
        ("api", "SERVER"),
        ("api", "CLIENT"),
        ("pricing", "SERVER"),
        ("pricing", "CLIENT"),
        ("inventory", "SERVER"),
    ]
    ports = {1: 7001, 3: 7002}
    return Trace(
        "t" * 32,
        [
            Span(
                "t" * 32,
                str(depth),
                str(depth - 1),
                "GET /items/{id}" if kind == "SERVER" else "GET",
                kind,
                service,
                depth * 1_000_000,
                (1000 - depth) * 1_000_000,
                attributes={"server.address": "127.0.0.1", "server.port": ports.get(depth)},
            )
            for depth, (service, kind) in enumerate(steps)
        ],
    )


@pytest.mark.parametrize("columns", [80, 120])
def test_three_services_fit_on_a_terminal_and_calls_tell_whom_they_go_to(columns: int) -> None:
    names = {"127.0.0.1:7001": "pricing", "127.0.0.1:7002": "inventory"}
    rows = shown(waterfall(three_services(), names, columns=columns), columns)
    assert [row.rpartition("  ")[0].split("  ")[0] for row in rows[2:]] == [
        "api",
        "api",
        "pricing",
        "pricing",
        "inventory",
    ]
    assert len(rows) == 7, "a row is folded"
    assert "CLIENT GET → pricing" in rows[3]
    assert "CLIENT GET → inventory" in rows[5]
    assert all("█" in row for row in rows[2:])


def line(trace_id: str, severity: str, message: str, time: str) -> str:
    return json.dumps(
        {"severity": severity, "message": message, "time": time, "logging.googleapis.com/trace": trace_id}
    )


def test_the_log_lines_of_a_trace_stand_in_the_order_of_time_with_their_services() -> None:
    trace = three_services()
    lines = [
        ("api", "no JSON"),
        ("api", line("another", "INFO", "of another trace", "1970-01-01T00:00:00.005Z")),
        ("api", line(trace.trace_id, "INFO", "GET /items/1 200", "1970-01-01T00:00:00.9Z")),
        ("pricing/requests", line(trace.trace_id, "WARNING", "[bold]401", "no time")),
        ("pricing", line(trace.trace_id, "ERROR", "broken", "1970-01-01T00:00:00.1Z")),
        ("api", line(trace.trace_id, "INFO", "a line", "1970-01-01T00:00:00.05Z")),
        ("api", "[]"),
        ("api", "1"),
    ]
    title, *rows = shown(log_lines(trace, lines))
    assert title == "log lines of this trace: pricing/requests 1, api 2, pricing 1"
    assert [" ".join(row.split()) for row in rows] == [
        "pricing/requests WARNING [bold]401",
        "api 50.0 INFO a line",
        "pricing 100.0 ERROR broken",
        "api 900.0 INFO GET /items/1 200",
    ]
    assert log_lines(trace, lines[:2]) is None
