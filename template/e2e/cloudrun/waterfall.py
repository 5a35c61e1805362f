"""A trace as a picture in the terminal, and the log lines that belong to it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

from cloudrun.log_lines import parsed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cloudrun.store import Span, Trace

_WIDTH: Final = 32
"""Columns of the widest bar."""
_COLOURS: Final = ("cyan", "magenta", "green", "yellow", "blue", "red")
_NS_PER_MS: Final = 1_000_000


def waterfall(trace: Trace, names: Mapping[str, str] | None = None) -> Table:
    """Return the trace as a table: one row a span, parents above their children, bars on one scale of time.

    `names` tells who has an address, `HOST:PORT`: a call shows whom it went to.
    """
    start = _start(trace)
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
            Text(
                f"{'  ' * depth}{span.label}{_callee(span, names or {})}{' (failed)' if failed else ''}",
                style="bold red" if failed else "",
            ),
            f"{(span.end - span.start) / _NS_PER_MS:.1f}",
            Text(_bar(span, start, total), style="dim" if span.by_platform else colour),
        )
    return table


def log_lines(trace: Trace, lines: Iterable[tuple[str, str]]) -> Table | None:
    """Return those of `lines`, service and text, that name the trace, in the order of time; None: there are none."""
    start = _start(trace) if trace.spans else None
    found = [
        (service, entry) for service, text in lines if (entry := parsed(text)) and entry.trace_id == trace.trace_id
    ]
    if not found:
        return None
    counts = Counter(service for service, _ in found)
    table = Table(
        title=f"log lines of this trace: {', '.join(f'{name} {count}' for name, count in counts.items())}",
        title_justify="left",
        box=None,
        pad_edge=False,
        show_header=False,
    )
    table.add_column()
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for service, entry in sorted(found, key=lambda one: one[1].time or 0):
        at = "" if start is None or entry.time is None else f"{(entry.time - start) / _NS_PER_MS:.1f}"
        table.add_row(Text(service), Text(at), Text(f"{entry.severity} {entry.message}"))
    return table


def _start(trace: Trace) -> int:
    return min(span.start for span in trace.spans)


def _callee(span: Span, names: Mapping[str, str]) -> str:
    host, port = span.attributes.get("server.address"), span.attributes.get("server.port")
    name = names.get(f"{host}:{port}") if span.kind == "CLIENT" else None
    return f" → {name}" if name else ""


def _in_order(trace: Trace, parent_id: str | None, depth: int) -> Iterator[tuple[Span, int]]:
    for span in trace.children(parent_id):
        yield span, depth
        yield from _in_order(trace, span.span_id, depth + 1)


def _bar(span: Span, start: int, total: int) -> str:
    left = round((span.start - start) / total * _WIDTH)
    length = max(1, round((span.end - span.start) / total * _WIDTH))
    left = min(left, _WIDTH - 1)
    return " " * left + "█" * min(length, _WIDTH - left)
