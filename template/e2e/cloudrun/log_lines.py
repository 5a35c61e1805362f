"""Structured log lines, readable."""

from __future__ import annotations

import json


def readable(line: str) -> str:
    """Return a line of JSON as `SEVERITY message`, any other line as it is."""
    try:
        entry = json.loads(line)
        return f"{entry['severity']} {entry['message']}"
    except (ValueError, TypeError, KeyError):
        return line
