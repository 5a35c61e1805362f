"""Trace ids: a root span takes the trace id that the platform gave its request."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext, TraceFlags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracerun.propagation import Incoming

_random: Final = RandomIdGenerator()
_FLAGS: Final = tuple(
    tuple(TraceFlags(sampled * TraceFlags.SAMPLED | random * TraceFlags.RANDOM_TRACE_ID) for random in (False, True))
    for sampled in (False, True)
)
"""By sampled and random."""

_adopted: ContextVar[SpanContext | None] = ContextVar("tracerun_adopted", default=None)


class PlatformIdGenerator(RandomIdGenerator):
    """Random ids, except where `adopt` gives others.

    The request log of Cloud Run carries the platform's trace id, so keeping it is what joins logs and trace:
    https://cloud.google.com/run/docs/logging#correlate-logs
    """

    def generate_trace_id(self) -> int:
        """Return the adopted trace id, or a random one."""
        ids = _adopted.get()
        return super().generate_trace_id() if ids is None else ids.trace_id

    def generate_span_id(self) -> int:
        """Return the adopted span id, or a random one."""
        ids = _adopted.get()
        return super().generate_span_id() if ids is None else ids.span_id

    def is_trace_id_random(self) -> bool:
        """Tell whether the low 56 bits are random: always for our own ids, for adopted ones as their sender said."""
        ids = _adopted.get()
        return True if ids is None else ids.trace_flags.random_trace_id


def for_request(incoming: Incoming, *, sampled: bool) -> SpanContext:
    """Return the ids of a new SERVER span: the platform's trace id and random flag, a span id of its own."""
    parent = incoming.parent
    random = incoming.random if parent is None else parent.trace_flags.random_trace_id
    flags = _FLAGS[sampled][random]
    return SpanContext(incoming.trace_id, _random.generate_span_id(), False, flags, incoming.trace_state)  # noqa: FBT003


def new_trace_id() -> int:
    """Return a random trace id, for a request that brings none."""
    return _random.generate_trace_id()


@contextlib.contextmanager
def adopt(ids: SpanContext) -> Iterator[None]:
    """Give the one span that is started meanwhile these ids, and this sampling decision."""
    token = _adopted.set(ids)
    try:
        yield
    finally:
        _adopted.reset(token)


def adopted() -> SpanContext | None:
    """Return what `adopt` gives the span that is being started."""
    return _adopted.get()
