"""The shared sampling rule, as the tests expect it: the services' libraries have their own copies.

R = low 56 bits of the trace id, T = 2**56 - round(ratio * 2**56), keep when R >= T.
"""

from __future__ import annotations

import random
from typing import Final

_SPACE: Final = 1 << 56


def keeps(trace_id: str, ratio: float) -> bool:
    """Tell whether the rule keeps the trace `trace_id` (32 hex digits)."""
    return int(trace_id, 16) % _SPACE >= _SPACE - round(ratio * _SPACE)


def new_trace_id(ratio: float | None = None) -> str:
    """Return a random trace id, 32 hex digits; with a `ratio` above 0, one that the rule keeps at that ratio."""
    low = random.randrange(_SPACE - round(ratio * _SPACE), _SPACE) if ratio else random.getrandbits(56)
    return f"{random.getrandbits(71) + 1:018x}{low:014x}"


def new_span_id() -> str:
    """Return a random span id, 16 hex digits."""
    return f"{random.getrandbits(64) or 1:016x}"
