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
    rival_rounds: int
    """Rounds under load that the rivals are in: they are far off, and slow to deliver."""
    turns: int
    """How often the load goes to and fro between the untraced app and a variant in each round."""
    seconds: float
    """Load on each of them in each turn."""
    late: float
    """Seconds to wait for the last batch of rivals, whose timer is 5 s."""
    lone_rounds: int
    lone_seconds: float
    cold_starts: int
    growth_rounds: int
    growth_seconds: float
    connections: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    spans: tuple[int, ...] = (1, 10, 30)


FULL: Final = Plan(
    rounds=9,
    rival_rounds=3,
    turns=4,
    seconds=0.3,
    late=6.0,
    lone_rounds=5,
    lone_seconds=1.0,
    cold_starts=36,
    growth_rounds=3,
    growth_seconds=1.0,
)
QUICK: Final = Plan(
    rounds=3,
    rival_rounds=1,
    turns=2,
    seconds=0.4,
    late=6.0,
    lone_rounds=1,
    lone_seconds=0.5,
    cold_starts=9,
    growth_rounds=1,
    growth_seconds=0.7,
    connections=(1, 16, 64),
)
