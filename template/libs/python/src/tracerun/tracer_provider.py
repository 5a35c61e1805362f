"""The tracer provider of a service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from tracerun.limits import SPAN_ATTRIBUTES, VALUE_BYTES, sdk_limits
from tracerun.trace_ids import PlatformIdGenerator

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor

    from tracerun.sampling import RatioSampler


class ServiceTracerProvider(TracerProvider):
    """The SDK's, with this library's ids and limits; it knows whether spans must be the SDK's from their start."""

    def __init__(self, sampler: RatioSampler, resource: Resource) -> None:
        limits = sdk_limits()
        super().__init__(
            sampler, resource, shutdown_on_exit=False, id_generator=PlatformIdGenerator(), span_limits=limits
        )
        self.server_scope = InstrumentationScope("tracerun", "")
        self.server_tracer = self.get_tracer(self.server_scope.name, self.server_scope.version)
        """Of the SERVER spans."""
        self._processors = 0
        # The standard variables OTEL_SPAN_ATTRIBUTE_… set lower ones.
        self._cuts = (limits.max_span_attributes, limits.max_span_attribute_length) != (SPAN_ATTRIBUTES, VALUE_BYTES)

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Add a processor to those that there are."""
        super().add_span_processor(span_processor)
        self._processors += 1

    @property
    def needs_every_start(self) -> bool:
        """Whether untouched spans must be the SDK's too: a further processor hears of them, or their values are cut."""
        return self._processors > 1 or self._cuts
