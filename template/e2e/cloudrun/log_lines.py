"""Structured log lines, as Cloud Logging reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class Entry:
    """One line, and the trace that it belongs to."""

    severity: str
    message: str
    trace_id: str | None = None
    time: int | None = None
    """ns since 1970."""


def parsed(line: str) -> Entry | None:
    """Return what `line` says, None when it is no structured line."""
    try:
        found = json.loads(line)
        entry = Entry(f"{found['severity']}", f"{found['message']}", found.get("logging.googleapis.com/trace"))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    try:
        time = round(datetime.fromisoformat(found["time"]).timestamp() * _NS_PER_S)
    except (ValueError, TypeError, KeyError):
        return entry
    return Entry(entry.severity, entry.message, entry.trace_id, time)


def readable(line: str) -> str:
    """Return a structured line as `SEVERITY message`, any other line as it is."""
    entry = parsed(line)
    return line if entry is None else f"{entry.severity} {entry.message}"
