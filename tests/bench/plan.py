"""How much one run measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

Sample = dict[str, Any]
"""What one measurement of one variant came to: its `variant`, and figures in seconds, bytes or numbers."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    turns: int
    """How often the load goes to and fro between the untraced app and a variant in each round."""
    seconds: float
    """Load on each of them in each turn."""
    late: float
    """Seconds to wait for the last batch of rivals, whose timer is 5 s."""
    lone_seconds: float
    cold_starts: int
    growth_rounds: int
    growth_seconds: float
    connections: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    spans: tuple[int, ...] = (1, 10, 30)


FULL: Final = Plan(5, 6, 0.35, 6.0, 1.0, 36, 3, 1.0)
QUICK: Final = Plan(1, 3, 0.5, 6.0, 0.5, 3, 1, 0.7, (1, 16, 64))
