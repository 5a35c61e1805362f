"""The picture of a trace."""

from __future__ import annotations

import io

from cloudrun import Span, Trace
from cloudrun.waterfall import waterfall
from rich.console import Console


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
