"""An app of a user's that works on its own for as long as the id says, in ms."""

import asyncio

from fastapi import FastAPI

app = FastAPI()


@app.get("/health")
async def health():
    return {"status": "ok"}


@app.get("/items/{id}")
async def read_item(id: int):  # noqa: A002
    await asyncio.sleep(id / 1000)
    return {"id": id}
