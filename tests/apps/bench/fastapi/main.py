"""The app that every variant serves; no variant logs its requests."""

import logging

from fastapi import FastAPI
from pydantic import BaseModel

logging.getLogger().setLevel(logging.WARNING)
app = FastAPI()


class Item(BaseModel):
    id: int
    name: str
    price: float
    tags: list[str]


@app.get("/health")
async def health():
    return {"status": "ok"}


@app.get("/items/{item_id}")
async def read_item(item_id: int) -> Item:
    return Item(id=item_id, name="thing", price=1.5, tags=["a", "b"])


@app.get("/spans/{count}")
async def spans(count: int):
    from opentelemetry import trace

    tracer = trace.get_tracer("bench")
    for number in range(count - 1):
        with tracer.start_as_current_span("step", attributes={"step.number": number, "step.kind": "sum"}):
            pass
    return {"spans": count}
