"""A trace as a picture in the terminal, and the log lines that belong to it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from cloudrun.log_lines import parsed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cloudrun.store import Span, Trace

_WIDEST: Final = 32
_NARROWEST: Final = 8
"""Columns of the bar that is as long as the trace."""
_GAPS: Final = 7
_COLOURS: Final = ("cyan", "magenta", "green", "yellow", "blue", "red")
_NS_PER_MS: Final = 1_000_000


def waterfall(trace: Trace, names: Mapping[str, str] | None = None, *, columns: int = 120) -> Table:
    """Return the trace as a table: one row a span, parents above their children, bars on one scale of time.

    `names` tells who has an address, `HOST:PORT`: a call shows whom it went to. `columns` is the terminal's width.
    """
    start = _start(trace)
    total = max(max(span.end for span in trace.spans) - start, 1)
    services = list(dict.fromkeys(span.service for span in trace.spans))
    rows = [
        (span, _label(span, depth, names or {}), _ms(span.end - span.start))
        for span, depth in _in_order(trace, None, 0)
    ]
    widest = max(map(len, services)) + max(len(label) for _, label, _ in rows) + max(len(ms) for _, _, ms in rows)
    width = min(_WIDEST, max(_NARROWEST, columns - widest - _GAPS))
    table = Table(
        title=f"trace {trace.trace_id}, {len(trace.spans)} spans, {_ms(total)} ms",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("service", no_wrap=True)
    table.add_column("span", overflow="fold")
    table.add_column("ms", justify="right")
    table.add_column("", width=width, no_wrap=True)
    for span, label, ms in rows:
        style = "dim" if span.by_platform else _COLOURS[services.index(span.service) % len(_COLOURS)]
        table.add_row(
            Text(span.service, style=style),
            Text(label, style="bold red" if span.status == "ERROR" else ""),
            ms,
            Text(_bar(span, start, total, width), style=style),
        )
    return table


def log_lines(trace: Trace, lines: Iterable[tuple[str, str]]) -> Group | None:
    """Return those of `lines`, service and text, that name the trace, in the order of time; None: there are none."""
    start = _start(trace) if trace.spans else None
    found = [
        (service, entry) for service, text in lines if (entry := parsed(text)) and entry.trace_id == trace.trace_id
    ]
    if not found:
        return None
    found.sort(key=lambda one: one[1].time or 0)
    counts = Counter(service for service, _ in found)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for service, entry in found:
        at = "" if start is None or entry.time is None else _ms(entry.time - start)
        table.add_row(service, at, Text(f"{entry.severity} {entry.message}"))
    title = f"log lines of this trace: {', '.join(f'{name} {count}' for name, count in counts.items())}"
    return Group(Text(title, style="italic"), table)


def _label(span: Span, depth: int, names: Mapping[str, str]) -> str:
    host, port = span.attributes.get("server.address"), span.attributes.get("server.port")
    callee = names.get(f"{host}:{port}") if span.kind == "CLIENT" else None
    return (
        f"{'  ' * depth}{span.label}{f' → {callee}' if callee else ''}{' (failed)' if span.status == 'ERROR' else ''}"
    )


def _ms(nanoseconds: int) -> str:
    return f"{nanoseconds / _NS_PER_MS:.1f}"


def _start(trace: Trace) -> int:
    return min(span.start for span in trace.spans)


def _in_order(trace: Trace, parent_id: str | None, depth: int) -> Iterator[tuple[Span, int]]:
    for span in trace.children(parent_id):
        yield span, depth
        yield from _in_order(trace, span.span_id, depth + 1)


def _bar(span: Span, start: int, total: int, width: int) -> str:
    left = min(round((span.start - start) / total * width), width - 1)
    length = max(1, round((span.end - span.start) / total * width))
    return " " * left + "█" * min(length, width - left)
