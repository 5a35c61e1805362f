"""The set-up: one provider, one processor, from the environment."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from opentelemetry import propagate, trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.version import __version__ as opentelemetry_version

from tracerun.flush import FlushProcessor
from tracerun.instrumentations import load_instrumentations
from tracerun.keep import KeepProcessor
from tracerun.middleware import TraceMiddleware
from tracerun.otlp import otlp
from tracerun.propagation import TracePropagator
from tracerun.sampling import RatioSampler
from tracerun.server_span import ServerSpans
from tracerun.settings import Settings
from tracerun.tracer_provider import ServiceTracerProvider

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tracerun.middleware import ASGIApp
    from tracerun.otlp import Export


class Telemetry:
    """The telemetry of this process. With `OTEL_SDK_DISABLED=true` it does nothing at all."""

    def __init__(
        self,
        settings: Settings,
        provider: ServiceTracerProvider | None,
        propagator: TracePropagator,
        flush: FlushProcessor | None = None,
        spans: ServerSpans | None = None,
    ) -> None:
        self.settings = settings
        self.provider = provider
        self.propagator = propagator
        self.flush = flush
        self.spans = spans

    def traced(self, app: ASGIApp) -> ASGIApp:
        """Return `app` with one SERVER span a request; wrap it last, so that this is the outermost middleware."""
        if self.spans is None or self.flush is None:
            return app
        return TraceMiddleware(app, self.spans, self.flush)

    def listening(self) -> None:
        """Load the exporter and fetch ID tokens; call it on the event loop when the server listens."""
        if self.flush is not None:
            self.flush.listening()
        if self.settings.private_callees:
            from tracerun.id_tokens import fetch_ahead  # noqa: PLC0415 (only where it is needed)

            fetch_ahead(self.settings.private_callees)

    @property
    def on_arrival(self) -> Callable[[], None] | None:
        """What to call for each request whose headers are there, before the app is; None: nobody wants to know.

        See `FlushProcessor.request_arrived`. A server may leave it out.
        """
        return self.flush.request_arrived if self.flush is not None and self.settings.on_idle else None

    async def drain(self, seconds: float) -> None:
        """Deliver what is queued within `seconds`; call it on the event loop after the last request."""
        if self.flush is not None:
            await self.flush.drain(seconds)


def setup(environ: Mapping[str, str] | None = None, *, make_export: Callable[[], Export] | None = None) -> Telemetry:
    """Set up tracing for this process from `environ` (default: the process's own) and return it.

    Sets OpenTelemetry's global tracer provider and propagator, and loads the instrumentations that are installed. The
    server side is not patched, so it does not matter what was imported before. A value that cannot be used is reported
    in one WARNING, and its default serves.
    """
    telemetry = build(Settings.from_environment(os.environ if environ is None else environ), make_export)
    if telemetry.provider is not None:
        trace.set_tracer_provider(telemetry.provider)
        propagate.set_global_textmap(telemetry.propagator)
        load_instrumentations()
    return telemetry


def build(settings: Settings, make_export: Callable[[], Export] | None = None) -> Telemetry:
    """Return the telemetry that `settings` describe, without making it the process's own."""
    propagator = TracePropagator(trust_callers=settings.trust_callers, google_backend=settings.google_backend)
    if settings.disabled:
        return Telemetry(settings, None, propagator)
    flush = FlushProcessor(
        make_export or partial(otlp, settings), on_idle=settings.on_idle, deadline=settings.flush_deadline
    )
    keep = _keep(settings, flush)
    sampler = RatioSampler(settings.ratio, settings.max_traces_per_second, record_rest=keep is not None)
    provider = ServiceTracerProvider(sampler, _resource())
    provider.add_span_processor(flush if keep is None else keep)
    spans = ServerSpans(provider, propagator, sampler, flush, keep)
    return Telemetry(settings, provider, propagator, flush, spans)


def _keep(settings: Settings, flush: FlushProcessor) -> KeepProcessor | None:
    if not (settings.keep_errors or settings.keep_slower_than):
        return None
    return KeepProcessor(
        flush,
        errors=settings.keep_errors,
        slower_than=settings.keep_slower_than,
        max_traces_per_second=settings.max_traces_per_second,
    )


def _resource() -> Resource:
    # Not Resource.create(): it scans all installed packages for detectors, which costs 10 ms of cold start.
    sdk = Resource(
        {
            "telemetry.sdk.language": "python",
            "telemetry.sdk.name": "opentelemetry",
            "telemetry.sdk.version": opentelemetry_version,
            "service.name": "unknown_service",
        }
    )
    return sdk.merge(OTELResourceDetector().detect())
