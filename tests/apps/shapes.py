"""An app of a user's: every kind of handler and response that FastAPI has."""

import asyncio
import logging
import os
import time
import warnings

from app.journal import keep_journal
from fastapi import BackgroundTasks, FastAPI, Request, Response, WebSocket
from fastapi.responses import StreamingResponse
from opentelemetry import propagate, trace

keep_journal()
app = FastAPI()
tracer = trace.get_tracer("shapes")
logger = logging.getLogger("shapes")


@app.get("/health")
async def health():
    return {"status": "ok"}


@app.get("/plain")
async def plain():
    with tracer.start_as_current_span("child"):
        return {"kind": "plain"}


@app.get("/sync")
def sync():
    with tracer.start_as_current_span("child"):
        return {"kind": "sync"}


@app.get("/length")
async def length():
    async def chunks():
        for _ in range(4):
            tracer.start_span("child").end()
            yield b"x" * 1000
        tracer.start_span("after the last byte of the body").end()

    return StreamingResponse(chunks(), headers={"content-length": "4000"})


@app.get("/chunked")
async def chunked():
    async def chunks():
        yield b"all in one"

    return StreamingResponse(chunks())


@app.get("/streamed")
async def streamed():
    async def chunks():
        for number in range(4):
            with tracer.start_as_current_span("child"):
                await asyncio.sleep(0.001)
                yield f"data: {number}\n\n".encode()

    return StreamingResponse(chunks(), media_type="text/event-stream")


@app.get("/empty", status_code=204)
async def empty():
    tracer.start_span("child").end()


@app.get("/redirect")
async def redirect():
    return Response(status_code=307, headers={"location": "/plain", "content-length": "0"})


@app.get("/crash")
async def crash():
    raise RuntimeError("broken")


@app.get("/warn")
async def warn():
    warnings.warn("be careful", stacklevel=1)


@app.get("/log")
async def log(fail: str = ""):
    logger.info("in the handler")
    with tracer.start_as_current_span("child"):
        logger.info("in the child", extra={"basket": 3})
    if fail:
        raise RuntimeError("asked to")
    return {"kind": "log"}


@app.get("/background")
async def background(tasks: BackgroundTasks):
    async def work():
        with tracer.start_as_current_span("background work"):
            await asyncio.sleep(float(os.environ.get("WORK_SECONDS", "0.05")))

    tasks.add_task(work)
    return {"kind": "background"}


@app.get("/endless")
async def endless():
    async def chunks():
        while True:
            yield b"more"
            await asyncio.sleep(0.01)

    return StreamingResponse(chunks())


@app.get("/slow")
async def slow(seconds: float):
    await asyncio.sleep(seconds)
    return {"kind": "slow"}


@app.post("/name")
async def name(request: Request):
    given = (await request.json())["name"]
    tracer.start_span(f"pricing {given}").end()


@app.post("/attribute")
async def attribute(request: Request):
    text = (await request.body()).decode()
    with tracer.start_as_current_span("child", attributes={"text": text, "texts": [text, text]}) as child:
        child.add_event("event", {"text": text})


@app.get("/carried")
async def carried():
    carrier = {}
    propagate.inject(carrier)
    return carrier


@app.get("/stuck")
def stuck():
    time.sleep(60)


@app.get("/stubborn")
async def stubborn():
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(60)


@app.get("/cleanup")
async def cleanup():
    with tracer.start_as_current_span("child"):
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.3)


@app.post("/echo")
async def echo(request: Request):
    return Response(await request.body(), media_type="application/octet-stream")


@app.get("/headers")
async def headers(request: Request):
    return dict(request.headers)


@app.websocket("/socket")
async def socket(websocket: WebSocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        if text == "close":
            tracer.start_span("child").end()
            await websocket.close()
            return
        await websocket.send_text(text.upper())


if "WITH_MIDDLEWARE" in os.environ:

    @app.middleware("http")
    async def splits_the_body(request, call_next):
        return await call_next(request)
