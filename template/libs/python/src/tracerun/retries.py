"""When a call is tried again.

Once, if its request may be repeated and the callee cannot have begun with it, or had no instance for it: Cloud Run
answers 503 then (https://cloud.google.com/run/docs/troubleshooting#503).
"""

from __future__ import annotations

import random
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import httpx

if TYPE_CHECKING:
    from tracerun.time_limit import TimeLimit

_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_NOT_CONNECTED: Final = (httpx.ConnectError, httpx.ConnectTimeout)
_PAUSES: Final = (0.05, 0.15)
"""Seconds between two tries, at random between these: callers that failed together do not come back together."""


class Tries:
    """Counts the tries of one call."""

    def __init__(self, request: httpx.Request, callers_attempt: int) -> None:
        """`callers_attempt` is the number of the try that this service is handling: from 2 it is the caller's turn."""
        self._callers_attempt = callers_attempt
        self._repeatable = isinstance(request.stream, httpx.ByteStream)
        self._may_retry = self._repeatable and callers_attempt == 1 and request.method in _IDEMPOTENT
        self._may_renew = self._repeatable
        self.resent = 0
        """How often the request was sent again."""

    @property
    def attempt(self) -> int:
        """The number of this try, those of the callers before this service counted in."""
        return self._callers_attempt + self.resent

    def pause_after(self, outcome: httpx.Response | BaseException, limit: TimeLimit) -> float | None:
        """Return the seconds after which to try again, None when `outcome` is final."""
        if not self._may_retry or not _worth_a_retry(outcome):
            return None
        pause = random.uniform(*_PAUSES)  # noqa: S311 (no secret)
        if limit.left() <= pause:
            return None
        self._may_retry = False
        self.resent += 1
        return pause

    def renewed(self) -> bool:
        """Tell whether to try again with a new token, once: the platform refuses before the callee sees anything."""
        if not self._may_renew:
            return False
        self._may_renew = False
        self.resent += 1
        return True


def _worth_a_retry(outcome: httpx.Response | BaseException) -> bool:
    if isinstance(outcome, httpx.Response):
        return outcome.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    return isinstance(outcome, _NOT_CONNECTED)
