"""The routes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI, HTTPException, Path, Request, status
from pydantic import BaseModel
from tracerun.httpx import AsyncTracedTransport

from app.clients import TIMEOUT, get_json
from app.settings import Settings


class Item(BaseModel):
    """An item, with what the called services add to it."""

    id: int
    name: str
    parts: dict[str, Any]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open one HTTP client for the life of the service."""
    async with httpx.AsyncClient(transport=AsyncTracedTransport(), timeout=TIMEOUT) as client:
        app.state.client = client
        yield


def get_client(request: Request) -> httpx.AsyncClient:
    """Return the service's HTTP client."""
    client: httpx.AsyncClient = request.app.state.client
    return client


app = FastAPI(title="Items", lifespan=lifespan)

Client = Annotated[httpx.AsyncClient, Depends(get_client)]
Config = Annotated[Settings, Depends(Settings.from_environment)]
ItemId = Annotated[int, Path(alias="id", ge=0)]


@app.get("/health")
async def health() -> dict[str, str]:
    """Answer the probes of Cloud Run."""
    return {"status": "ok"}


@app.get("/items/{id}")
async def read_item(item_id: ItemId, client: Client, settings: Config) -> Item:
    """Return the item; every service that this one calls adds its part. The first that fails ends the other calls."""
    try:
        async with asyncio.TaskGroup() as calls:
            parts = {
                name: calls.create_task(get_json(client, f"{url}/items/{item_id}"))
                for name, url in settings.callees.items()
            }
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return Item(id=item_id, name=f"Item {item_id}", parts={name: part.result() for name, part in parts.items()})


@app.get("/items/{id}/reviews")
async def read_reviews(item_id: ItemId, client: Client, settings: Config) -> Any:  # noqa: ANN401 (passed on)
    """Return what the service at `UPSTREAM_URL` knows of the item: 502 when it fails, 503 when there is none."""
    if settings.upstream_url is None:
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, "UPSTREAM_URL is not set")
    return await get_json(client, f"{settings.upstream_url}/reviews/{item_id}")
