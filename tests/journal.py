"""What a service says that it has started: tests/apps/journal.py writes it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Journal:
    """The spans that a service has started, by their ids."""

    path: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which a service writes it and keeps every trace."""
        return {"OTEL_TRACES_SAMPLER_ARG": "1", "TRACERUN_MAX_TRACES_PER_SECOND": "0", "JOURNAL": str(self.path)}

    def started(self) -> Counter[str]:
        return Counter(self.path.read_text().split()) if self.path.exists() else Counter()
