"""Trace ids: a root span takes the trace id that the platform gave its request."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

if TYPE_CHECKING:
    from contextvars import Token

    from tracerun.propagation import Incoming

_adopted: ContextVar[Incoming | None] = ContextVar("tracerun_adopted", default=None)


class PlatformIdGenerator(RandomIdGenerator):
    """Random ids, except between `adopt` and `release`: there a new root gets the platform's trace id and random flag.

    The request log of Cloud Run carries that trace id, so keeping it is what joins logs and trace:
    https://cloud.google.com/run/docs/logging#correlate-logs
    """

    def generate_trace_id(self) -> int:
        """Return the adopted trace id, or a random one."""
        incoming = _adopted.get()
        return super().generate_trace_id() if incoming is None else incoming.trace_id

    def is_trace_id_random(self) -> bool:
        """Tell whether the low 56 bits are random: always for our own ids, for adopted ones as their sender said."""
        incoming = _adopted.get()
        return True if incoming is None else incoming.random


def adopt(incoming: Incoming) -> Token[Incoming | None]:
    """Give the next root of this context the trace id of `incoming`; undo with `release`."""
    return _adopted.set(incoming)


def release(token: Token[Incoming | None]) -> None:
    """End `adopt`."""
    _adopted.reset(token)
