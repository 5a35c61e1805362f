"""The collector of tests/collector."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.go_binary import go_binary
from tests.project import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path


def collector_binary() -> Path:
    """Return the collector, built if its sources have changed."""
    return go_binary(REPOSITORY / "tests" / "collector", "otelcol")
