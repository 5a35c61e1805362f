"""A trace as a picture in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudrun.store import Span, Trace

_WIDTH: Final = 32
"""Columns of the widest bar."""
_COLOURS: Final = ("cyan", "magenta", "green", "yellow", "blue", "red")
_NS_PER_MS: Final = 1_000_000


def waterfall(trace: Trace) -> Table:
    """Return the trace as a table: one row a span, parents above their children, bars on one scale of time."""
    start = min(span.start for span in trace.spans)
    total = max(max(span.end for span in trace.spans) - start, 1)
    services = list(dict.fromkeys(span.service for span in trace.spans))
    table = Table(
        title=f"trace {trace.trace_id}, {len(trace.spans)} spans, {total / _NS_PER_MS:.1f} ms",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("service")
    table.add_column("span", overflow="fold")
    table.add_column("ms", justify="right")
    table.add_column("", width=_WIDTH, no_wrap=True)
    for span, depth in _in_order(trace, None, 0):
        colour = _COLOURS[services.index(span.service) % len(_COLOURS)]
        failed = span.status == "ERROR"
        table.add_row(
            Text(span.service, style="dim" if span.by_platform else colour),
            Text(f"{'  ' * depth}{span.label}{' (failed)' if failed else ''}", style="bold red" if failed else ""),
            f"{(span.end - span.start) / _NS_PER_MS:.1f}",
            Text(_bar(span, start, total), style="dim" if span.by_platform else colour),
        )
    return table


def _in_order(trace: Trace, parent_id: str | None, depth: int) -> Iterator[tuple[Span, int]]:
    for span in trace.children(parent_id):
        yield span, depth
        yield from _in_order(trace, span.span_id, depth + 1)


def _bar(span: Span, start: int, total: int) -> str:
    left = round((span.start - start) / total * _WIDTH)
    length = max(1, round((span.end - span.start) / total * _WIDTH))
    left = min(left, _WIDTH - 1)
    return " " * left + "█" * min(length, _WIDTH - left)
