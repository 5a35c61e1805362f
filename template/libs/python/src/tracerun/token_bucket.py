"""A bound on how often something may happen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class TokenBucket:
    """Lets `rate` things a second pass, and as many at once after a pause; a rate of 0 lets everything pass.

    Threads may race for a token: the bound may be exceeded by as many as there are threads.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._capacity = max(rate, 1.0)
        self._tokens = self._capacity
        self._clock = clock
        self._filled = clock()

    def take(self) -> bool:
        """Take a token; False when there is none."""
        if not self._rate:
            return True
        now = self._clock()
        self._tokens = min(self._capacity, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
