"""The time that one outgoing call has, over all its tries."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from tracerun.caller_limits import Deadline

_PHASES = ("connect", "read", "write", "pool")
# httpcore takes 0 for "do not wait", and fails with an error that is no time-out.
_SHORTEST = 0.001


class DeadlineExceeded(httpx.TimeoutException):
    """The time that the caller of this service gave its request is used up; the call was not made, or cut short."""


class TimeLimit:
    """What the caller of this service leaves, and the call's own read time-out, counted from its start.

    A first try keeps the time-outs that httpx was given, shortened to what the caller leaves; another try has to do
    with what is left of both.
    """

    def __init__(self, request: httpx.Request, deadline: Deadline | None) -> None:
        self._request = request
        self._timeouts: Mapping[str, float | None] = request.extensions.get("timeout") or {}
        self._deadline = deadline
        # The read time-out begins with the last byte of the request: nobody knows how long a streamed body takes.
        patience = self._timeouts.get("read") if isinstance(request.stream, httpx.ByteStream) else None
        self._own_end = math.inf if patience is None else time.monotonic() + patience

    def left(self) -> float:
        """Return the seconds that are left, 0 when none are, infinite without a limit."""
        return max(min(self._own_end - time.monotonic(), self._callers()), 0.0)

    def check(self) -> None:
        """Raise `DeadlineExceeded` if the caller leaves no time."""
        if self._deadline is not None and not self._deadline.left():
            url = self._request.url
            raise DeadlineExceeded(
                f"no time is left for {self._request.method} {url.scheme}://{url.netloc.decode()}: "
                "this service's caller gives up now; give it a longer time-out, or do less before this call",
                request=self._request,
            )

    def extensions(self, *, again: bool) -> dict[str, Any]:
        """Return the extensions of a try."""
        if self._deadline is None and not again:
            return self._request.extensions
        return {
            **self._request.extensions,
            "timeout": _Shrinking(self._timeouts, self.left if again else self._callers),
        }

    def _callers(self) -> float:
        return math.inf if self._deadline is None else self._deadline.left()


class _Shrinking(Mapping[str, "float | None"]):
    """httpx's time-outs, none longer than what is left when its phase begins: httpcore looks each up only then."""

    def __init__(self, timeouts: Mapping[str, float | None], left: Callable[[], float]) -> None:
        self._timeouts = timeouts
        self._left = left

    def __getitem__(self, phase: str) -> float | None:
        if phase not in _PHASES:
            raise KeyError(phase)
        own = self._timeouts.get(phase)
        seconds = max(min(math.inf if own is None else own, self._left()), _SHORTEST)
        return None if seconds == math.inf else seconds

    def __iter__(self) -> Iterator[str]:
        return iter(_PHASES)

    def __len__(self) -> int:
        return len(_PHASES)
