"""Log lines that come at most once a minute."""

from __future__ import annotations

import logging
import time
from typing import Final

INTERVAL: Final = 60.0
"""Seconds between two lines of the same kind."""


class OncePerMinute(logging.Filter):
    """Lets one record through, then none for `INTERVAL` seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._quiet_until = 0.0

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 (logging's signature)
        """Tell whether the record is logged."""
        now = time.monotonic()
        if now < self._quiet_until:
            return False
        self._quiet_until = now + INTERVAL
        return True


def once_per_minute(*names: str) -> None:
    """Let the loggers `names` log once a minute each; asking again changes nothing."""
    for name in names:
        logger = logging.getLogger(name)
        if not any(isinstance(each, OncePerMinute) for each in logger.filters):
            logger.addFilter(OncePerMinute())


class Tally:
    """Counts what went wrong and says so in one WARNING a minute, with the number since the last one.

    `message` has one `%d`, for that number. Safe to call from any thread: a race costs a line, never a count.
    """

    def __init__(self, logger: logging.Logger, message: str) -> None:
        self._log = logger
        self._message = message
        self._unsaid = 0
        self._quiet_until = 0.0
        self.total = 0

    def add(self, count: int) -> None:
        """Count `count` more."""
        if not count:
            return
        self.total += count
        self._unsaid += count
        if time.monotonic() >= self._quiet_until:
            self.say()

    def say(self) -> None:
        """Log what is not logged yet, now."""
        if self._unsaid:
            count, self._unsaid = self._unsaid, 0
            self._quiet_until = time.monotonic() + INTERVAL
            self._log.warning(self._message, count)
