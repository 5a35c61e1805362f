"""Calls to other services."""

from typing import Any

import httpx
from fastapi import HTTPException, status

TIMEOUT = 5.0
"""Seconds for one call."""


async def get_json(client: httpx.AsyncClient, url: str) -> Any:  # noqa: ANN401 (the other service decides)
    """Return the JSON that `url` answers with; raises a 502 that names the address when it cannot."""
    try:
        response = await client.get(url)
        response.raise_for_status()
        return response.json()
    except (httpx.HTTPError, ValueError) as error:
        raise HTTPException(status.HTTP_502_BAD_GATEWAY, f"{httpx.URL(url).host} did not answer: {error!r}") from error
