"""The app with the contrib instrumentation and the SDK's batch processor, as their documentation sets them up.

With `FLUSH` set, every response is followed by a flush.
"""

import os

import uvicorn
from main import app
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

if os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
FastAPIInstrumentor.instrument_app(app, exclude_spans=["receive", "send"], excluded_urls="health")


class FlushAfter:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)
        if scope["type"] == "http":
            provider.force_flush()


if __name__ == "__main__":
    served = FlushAfter(app) if "FLUSH" in os.environ else app
    uvicorn.run(served, host="127.0.0.1", port=int(os.environ["PORT"]), log_config=None, access_log=False)
