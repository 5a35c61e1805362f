"""An app of a user's with a mistake."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/health")
async def health():
    return {"status": "ok"}


@app.get("/items/{id}")
async def read_item(id: int):  # noqa: A002
    raise RuntimeError("out of stock")
