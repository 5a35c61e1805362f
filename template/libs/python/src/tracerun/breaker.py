"""Decides whether responses wait for the back end at all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

FAILURES: Final = 2
"""Exports that fail in a row before it opens."""
OVERDUE: Final = 3
"""Responses in a row that waited in vain before it opens."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 15.0
"""Seconds for which it stays open; they double each time. Then one response tries again."""


class Breaker:
    """Open: no response waits, exports go on in the background. It closes when an export is acknowledged in time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._overdue = 0
        self._pauses = 0
        self._open_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether no response should wait now."""
        return self._clock() < self._open_until

    def failed(self) -> None:
        """Count an export that failed."""
        self._failures += 1
        if self._failures >= FAILURES:
            self._open()

    def overdue(self) -> None:
        """Count a response that waited until its deadline."""
        self._overdue += 1
        if self._overdue >= OVERDUE:
            self._open()

    def acknowledged(self, *, in_time: bool) -> None:
        """Take note of an export that arrived; one that took longer than responses wait does not close it."""
        self._failures = 0
        if in_time:
            self._overdue = self._pauses = 0
            self._open_until = 0.0

    def _open(self) -> None:
        self._open_until = self._clock() + min(FIRST_PAUSE * 2**self._pauses, LONGEST_PAUSE)
        self._pauses = min(self._pauses + 1, 10)
