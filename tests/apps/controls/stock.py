"""The stock way: contrib instrumentation, OTLP over HTTP, `CONTROL` = batch, flush-after or parent-based."""

import os

import httpx
from app.journal import keep_journal
from fastapi import FastAPI
from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased

CONTROL = os.environ["CONTROL"]

provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(1.0)) if CONTROL == "parent-based" else ALWAYS_ON)
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
keep_journal()
app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})


@app.get("/health")
async def health():
    return {"status": "ok"}


@app.get("/plain")
async def plain():
    return {"kind": "plain"}


@app.get("/items/{id}")
async def read_item(id: int):  # noqa: A002
    """Call every service that this one calls, as it was called."""
    headers = {}
    propagate.inject(headers)
    async with httpx.AsyncClient() as client:
        for name, url in os.environ.items():
            if name in {"PRICING_URL", "INVENTORY_URL"}:
                (await client.get(f"{url}/items/1", headers=headers)).raise_for_status()
    return {"kind": "item"}


FastAPIInstrumentor.instrument_app(app, exclude_spans=["receive", "send"], excluded_urls="health")


class FlushAfter:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)
        if scope["type"] == "http":
            provider.force_flush()


if CONTROL == "flush-after":
    app = FlushAfter(app)
