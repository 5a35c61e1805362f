"""What the front end does to trace headers."""

from __future__ import annotations

import re
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cloudrun.rules import (
    CLOUD_TRACE_HEADER,
    OTHER_HEADERS_PASS,
    PARENT_REPLACED,
    PLATFORM_SAMPLING,
    TRACEPARENT_FILLED_IN,
    imitates,
)
from cloudrun.sampling import new_span_id, new_trace_id

if TYPE_CHECKING:
    from collections.abc import Callable

Headers = list[tuple[bytes, bytes]]

_TRACEPARENT: Final = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_CLOUD_TRACE: Final = re.compile(rb"(?!0{32})([0-9a-f]{32})(?:/(\d{1,20})(?:;o=(\d))?)?")
_SPAN_IDS: Final = 1 << 64


@dataclass(frozen=True)
class Caller:
    """What the caller's headers say."""

    trace_id: str
    span_id: str | None = None
    sampled: bool = False


@dataclass(frozen=True)
class PlatformSpan:
    """The front end's own span of a request; it is stored only if `sampled`."""

    trace_id: str
    span_id: str
    parent_id: str | None
    sampled: bool


@imitates(PLATFORM_SAMPLING)
class PlatformSampler:
    """Decides which requests of one instance the platform traces itself."""

    EVERY: Final = 10.0
    """Seconds between two requests that are sampled unasked."""
    FORCED_PER_SECOND: Final = 10

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.flag: bool | None = None
        """Tests may force the flag of all requests."""
        self._next = clock()
        self._forced: deque[float] = deque(maxlen=self.FORCED_PER_SECOND)

    def sample(self, *, forced: bool) -> bool:
        """Tell whether the platform samples this request; `forced` is the caller's own flag."""
        if self.flag is not None:
            return self.flag
        now = self._clock()
        if now >= self._next:
            self._next = now + self.EVERY
            return True
        if forced and (len(self._forced) < self.FORCED_PER_SECOND or now - self._forced[0] >= 1):
            self._forced.append(now)
            return True
        return False


@imitates(PARENT_REPLACED, TRACEPARENT_FILLED_IN, CLOUD_TRACE_HEADER, OTHER_HEADERS_PASS)
def at_front_end(headers: Headers, sampler: PlatformSampler) -> tuple[Headers, PlatformSpan]:
    """Return the headers that the container sees, and the platform's span; names are in lower case."""
    caller = caller_of(headers) or Caller(new_trace_id())
    span = PlatformSpan(caller.trace_id, new_span_id(), caller.span_id, sampler.sample(forced=caller.sampled))
    flag = int(span.sampled)
    passed = [(name, value) for name, value in headers if name not in {b"traceparent", b"x-cloud-trace-context"}]
    passed.append((b"traceparent", f"00-{span.trace_id}-{span.span_id}-{flag:02x}".encode()))
    passed.append((b"x-cloud-trace-context", f"{span.trace_id}/{int(span.span_id, 16)};o={flag}".encode()))
    return passed, span


def unsampled(headers: Headers) -> PlatformSpan:
    """Return the platform's span of a request that it refuses by itself, and does not store."""
    caller = caller_of(headers) or Caller(new_trace_id())
    return PlatformSpan(caller.trace_id, new_span_id(), caller.span_id, sampled=False)


def caller_of(headers: Headers) -> Caller | None:
    """Return what the caller's headers say; None when they name no trace."""
    for name, pattern in ((b"traceparent", _TRACEPARENT), (b"x-cloud-trace-context", _CLOUD_TRACE)):
        values = [value for found, value in headers if found == name]
        match = pattern.fullmatch(values[0]) if len(values) == 1 else None
        if match is None:
            continue
        trace_id, span, flags = match.groups()
        if name == b"traceparent":
            return Caller(trace_id.decode(), span.decode(), bool(int(flags, 16) & 1))
        number = int(span or 0)
        return Caller(trace_id.decode(), f"{number:016x}" if 0 < number < _SPAN_IDS else None, flags == b"1")
    return None
