"""What a trusted caller says of its request: how long it waits for the answer, and the how-manieth try this is.

Outgoing calls that are made while the request is handled get a little less time than that: when one is too late, the
caller hears it from this service, whose spans are complete then, before it gives up by itself. They are not tried again
where the caller is trying again itself: so tries grow by one a hop, where they would double.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.context import Context, create_key, get_value, set_value

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping, Sequence

    from opentelemetry.propagators.textmap import CarrierT, Getter

    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

REQUEST_TIMEOUT: Final = "x-request-timeout-ms"
"""Milliseconds from now in which the caller wants its answer to begin."""
REQUEST_ATTEMPT: Final = "x-request-attempt"
"""Number of this try, from 2: the caller, or one before it, is trying again."""

RESERVE_SHARE: Final = 0.1
"""The share of the caller's time that is kept back for the answer to it."""
LONGEST_RESERVE: Final = 0.2
"""Seconds that this is at most."""

_LIMITS: Final = create_key("tracerun-caller-limits")
_MOST_DIGITS: Final = 9


class Deadline:
    """The moment, shortly before the caller gives up, at which outgoing calls end, unless the answer has begun."""

    __slots__ = ("_at",)

    def __init__(self, seconds: float) -> None:
        """`seconds` from now, 0 or more."""
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, 0 when none are; infinite once the answer has begun."""
        return max(self._at - time.monotonic(), 0.0)

    def lift(self) -> None:
        """Leave time without limit: the answer has begun, and the caller reads."""
        self._at = math.inf


class CallerLimits(NamedTuple):
    """The limits of the request that is being handled."""

    deadline: Deadline | None = None
    attempt: int = 1


_NO_LIMITS: Final = CallerLimits()


def with_limits(context: Context, carrier: CarrierT, getter: Getter[CarrierT]) -> Context:
    """Return `context` with the limits that the headers of a trusted caller set. A malformed header sets none."""
    milliseconds = _number(getter.get(carrier, REQUEST_TIMEOUT))
    attempt = _number(getter.get(carrier, REQUEST_ATTEMPT))
    if milliseconds is None and attempt is None:
        return context
    deadline = None if milliseconds is None else Deadline(_for_calls(milliseconds / 1000))
    return set_value(_LIMITS, CallerLimits(deadline, max(attempt or 1, 1)), context)


def limits_in(context: Context | None = None) -> CallerLimits:
    """Return the limits in `context` (default: the current one)."""
    limits = get_value(_LIMITS, context)
    return limits if isinstance(limits, CallerLimits) else _NO_LIMITS


def until_answer(send: Send, context: Context) -> Send:
    """Return an ASGI `send` that lifts the deadline in `context` with the first message; `send` if there is none."""
    deadline = limits_in(context).deadline
    if deadline is None:
        return send

    async def lifting(message: MutableMapping[str, Any]) -> None:
        deadline.lift()
        await send(message)

    return lifting


def _for_calls(seconds: float) -> float:
    return seconds - min(seconds * RESERVE_SHARE, LONGEST_RESERVE)


def _number(values: Sequence[str] | None) -> int | None:
    if not values or len(values) > 1:
        return None
    text = values[0]
    return int(text) if len(text) <= _MOST_DIGITS and text.isascii() and text.isdecimal() else None
