"""The spans that have arrived, and waiting for more."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cloudrun.errors import Timeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


@dataclass(frozen=True)
class Span:
    """One span as the back end stored it. Ids are hex digits, times ns since 1970."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: str
    service: str
    start: int
    end: int
    status: str = "UNSET"
    attributes: Mapping[str, Any] = field(default_factory=dict)
    resource: Mapping[str, Any] = field(default_factory=dict)
    events: Sequence[tuple[str, Mapping[str, Any]]] = ()
    links: Sequence[tuple[str, str]] = ()
    trace_state: str = ""
    flags: int = 0
    by_platform: bool = False
    """The front end's own span, not one of the services'."""

    @property
    def label(self) -> str:
        """Kind and name: `SERVER GET /items/{id}`."""
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Trace:
    """All spans of one trace id, in the order of their start."""

    trace_id: str
    spans: Sequence[Span]

    def own(self) -> list[Span]:
        """Return the services' spans, without the platform's."""
        return [span for span in self.spans if not span.by_platform]

    def one(self, label: str) -> Span:
        """Return the only span with this label; raises `LookupError` that lists what there is."""
        found = [span for span in self.spans if span.label == label]
        if len(found) != 1:
            raise LookupError(f"{len(found)} spans are {label!r}; there are {[span.label for span in self.spans]}")
        return found[0]

    def children(self, parent_id: str | None) -> list[Span]:
        """Return the spans whose parent is `parent_id`; for None, those whose parent is not in this trace."""
        if parent_id is not None:
            return [span for span in self.spans if span.parent_id == parent_id]
        present = {span.span_id for span in self.spans}
        return [span for span in self.spans if span.parent_id not in present]


class Store:
    """Keeps every span it is given, also a second copy; belongs to one event loop."""

    def __init__(self) -> None:
        self._spans: dict[str, list[Span]] = {}
        self._waiting: set[asyncio.Event] = set()

    def add(self, spans: Iterable[Span]) -> None:
        """Store `spans` and wake those who wait."""
        for span in spans:
            self._spans.setdefault(span.trace_id, []).append(span)
        for event in self._waiting:
            event.set()

    def trace(self, trace_id: str) -> Trace:
        """Return what has arrived of a trace."""
        return Trace(trace_id, sorted(self._spans.get(trace_id, ()), key=lambda span: span.start))

    def trace_ids(self) -> set[str]:
        """Return the ids of all traces with a span of a service."""
        return {key for key, spans in self._spans.items() if any(not span.by_platform for span in spans)}

    def span_ids(self) -> Counter[str]:
        """Return how often each span of a service has arrived."""
        return Counter(span.span_id for spans in self._spans.values() for span in spans if not span.by_platform)

    def clear(self) -> None:
        """Forget everything."""
        self._spans.clear()

    async def changed(self) -> None:
        """Return when the next spans have arrived."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            await event.wait()
        finally:
            self._waiting.discard(event)

    async def wait_for(self, trace_id: str, complete: Callable[[Trace], bool], seconds: float) -> Trace:
        """Return the trace once `complete` says so; raises `Timeout` that lists what did arrive."""
        changed = asyncio.Event()
        self._waiting.add(changed)
        try:
            async with asyncio.timeout(seconds):
                while not complete(self.trace(trace_id)):
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            labels = [f"{span.service}: {span.label}" for span in self.trace(trace_id).spans]
            raise Timeout(
                f"trace {trace_id} was not complete after {seconds} s; it has {labels or 'no span'}"
            ) from None
        finally:
            self._waiting.discard(changed)
        return self.trace(trace_id)
