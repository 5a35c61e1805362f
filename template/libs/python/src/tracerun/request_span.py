"""The SERVER span of a request that is recorded."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import NonRecordingSpan, Span, SpanKind

from tracerun import trace_ids

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from opentelemetry.context import Context
    from opentelemetry.trace import SpanContext, Status, StatusCode
    from opentelemetry.util.types import Attributes, AttributeValue

    from tracerun.propagation import Incoming
    from tracerun.tracer_provider import ServiceTracerProvider

_log = logging.getLogger(__name__)

_making: Final = threading.RLock()


class RequestSpan(Span):
    """A span of the SDK's, started when anybody writes to this one or looks into it, with the same ids and start.

    Hardly anybody does: nearly all of a service's own attributes belong to spans inside of the request. A span that
    nobody touched ends as what the SDK would have made of it, for a fraction of the CPU time. It is no instance of the
    SDK's class.
    """

    def __init__(  # noqa: PLR0913 (what a span begins with)
        self,
        provider: ServiceTracerProvider,
        incoming: Incoming,
        context: Context,
        name: str,
        attributes: dict[str, AttributeValue],
        *,
        sampled: bool,
    ) -> None:
        """`context` is the one that the span is started in; the span keeps `attributes`."""
        self._provider = provider
        self._incoming = incoming
        self._parent_context = context
        self._name = name
        self._attributes = attributes
        self._ids = trace_ids.for_request(incoming, sampled=sampled)
        self._sdk_span: Span | None = None
        self._ended: ReadableSpan | None = None
        self._started = time.time_ns()

    def get_span_context(self) -> SpanContext:
        """Return the ids."""
        return self._ids

    def is_recording(self) -> bool:
        """Tell whether the span has not ended."""
        return self._ended is None if self._sdk_span is None else self._sdk_span.is_recording()

    def end_untouched(self, name: str | None, attributes: dict[str, AttributeValue]) -> ReadableSpan | None:
        """End the span with `attributes` added, as `name` if it is not None, and return it; None: that is the SDK's."""
        with _making:
            if self._sdk_span is not None or self._ended is not None:
                return None
            self._ended = ReadableSpan(
                name or self._name,
                self._ids,
                self._incoming.parent,
                self._provider.resource,
                self._attributes | attributes,
                kind=SpanKind.SERVER,
                start_time=self._started,
                end_time=time.time_ns(),
                instrumentation_scope=self._provider.server_scope,
            )
            return self._ended

    def in_sdk(self) -> Span:
        """Return the SDK's span in place of this one, started if need be."""
        with _making:
            if self._sdk_span is None:
                if self._ended is not None:
                    _log.warning("a span that has ended was written to")
                    return NonRecordingSpan(self._ids)
                with trace_ids.adopt(self._ids):
                    self._sdk_span = self._provider.server_tracer.start_span(
                        self._name,
                        self._incoming.put_into(self._parent_context),
                        SpanKind.SERVER,
                        self._attributes,
                        start_time=self._started,
                    )
            return self._sdk_span

    def __getattr__(self, name: str) -> Any:
        """Return what the SDK's spans have beyond the API, such as `attributes`."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._ended or self.in_sdk(), name)

    def end(self, end_time: int | None = None) -> None:  # noqa: D102 (this one and those below as in the API)
        self.in_sdk().end(end_time)

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:  # noqa: D102
        self.in_sdk().set_attributes(attributes)

    def set_attribute(self, key: str, value: AttributeValue) -> None:  # noqa: D102
        self.in_sdk().set_attribute(key, value)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:  # noqa: D102
        self.in_sdk().add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:  # noqa: D102
        self.in_sdk().add_link(context, attributes)

    def update_name(self, name: str) -> None:  # noqa: D102
        self.in_sdk().update_name(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:  # noqa: D102
        self.in_sdk().set_status(status, description)

    def record_exception(  # noqa: D102
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT002 (the API's signature)
    ) -> None:
        self.in_sdk().record_exception(exception, attributes, timestamp, escaped)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the span, with `error` as its exception, as the SDK does."""
        self.in_sdk().__exit__(kind, error, trace)
