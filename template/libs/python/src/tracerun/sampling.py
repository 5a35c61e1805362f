"""The sampling rule, the same in every language, and the sampler that applies it.

R is the low 56 bits of the trace id, T = 2**56 - round(ratio * 2**56); a trace is kept when R >= T. This is the
consistent probability sampling of W3C Trace Context level 2, which all services can compute from the trace id alone:
https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import get_current_span

from tracerun import trace_ids
from tracerun.propagation import incoming_in
from tracerun.quiet import Tally
from tracerun.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind, TraceState
    from opentelemetry.util.types import Attributes

    from tracerun.propagation import Incoming

_SPACE: Final = 1 << 56

_log = logging.getLogger(__name__)


def threshold(ratio: float) -> int:
    """Return T for `ratio` (0 to 1). Not round((1 - ratio) * 2**56), which differs in floating point."""
    return _SPACE - round(ratio * _SPACE)


def is_kept(trace_id: int, at_least: int) -> bool:
    """Tell whether the rule keeps `trace_id`, given T."""
    return trace_id & (_SPACE - 1) >= at_least


class RatioSampler(Sampler):
    """Follows the decisions of this service and of trusted callers; decides by the shared rule for all others.

    The platform's sampled flag is never followed: Cloud Run sets it on at most one request in ten seconds per instance
    (https://cloud.google.com/run/docs/trace), and on a public service any caller can set it.
    """

    def __init__(self, ratio: float, max_traces_per_second: float = 0, *, record_rest: bool = False) -> None:
        """`max_traces_per_second` bounds the traces decided here. `record_rest`: record what is not kept too."""
        self._ratio = ratio
        self._threshold = threshold(ratio)
        self._bucket = TokenBucket(max_traces_per_second)
        self._rest = Decision.RECORD_ONLY if record_rest else Decision.DROP
        self._too_many = Tally(_log, "%d traces were not kept: more than max_traces_per_second")

    def decide(self, incoming: Incoming) -> Decision:
        """Return what becomes of the SERVER span of a request; a trace that is kept here takes a token."""
        if incoming.trusted and incoming.parent is not None:
            keep = incoming.parent.trace_flags.sampled
        else:
            keep = self._keeps(incoming.trace_id)
        return Decision.RECORD_AND_SAMPLE if keep else self._rest

    def should_sample(  # noqa: PLR0913, PLR0917 (the SDK's signature)
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,  # noqa: ARG002
        kind: SpanKind | None = None,  # noqa: ARG002
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,  # noqa: ARG002
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Return the decision for a new span; the tracestate is handed on unchanged."""
        adopted = trace_ids.adopted()
        if adopted is not None:  # see `decide`
            return self._result(attributes, adopted.trace_state, keep=adopted.trace_flags.sampled)
        parent = get_current_span(parent_context).get_span_context()
        incoming = incoming_in(parent_context)
        if parent.is_valid and (not parent.is_remote or (incoming is not None and incoming.trusted)):
            keep = parent.trace_flags.sampled
        else:
            keep = self._keeps(trace_id)
        if parent.is_valid:
            trace_state = parent.trace_state
        elif incoming is not None:
            trace_state = incoming.trace_state
        return self._result(attributes, trace_state, keep=keep)

    def _result(self, attributes: Attributes, trace_state: TraceState | None, *, keep: bool) -> SamplingResult:
        return SamplingResult(Decision.RECORD_AND_SAMPLE if keep else self._rest, attributes, trace_state)

    def _keeps(self, trace_id: int) -> bool:
        if not is_kept(trace_id, self._threshold):
            return False
        if self._bucket.take():
            return True
        self._too_many.add(1)
        return False

    def get_description(self) -> str:
        """Return the name that the SDK shows."""
        return f"RatioSampler({self._ratio})"
