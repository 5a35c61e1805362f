"""Calls to other services."""

from typing import Any

import httpx
from fastapi import HTTPException, status

TIMEOUT = 5.0
"""Seconds for one call."""


async def get_json(client: httpx.AsyncClient, url: str) -> Any:  # noqa: ANN401 (the other service decides)
    """Return the JSON that `url` answers with.

    Raises a 504 that names the address when the answer, or one that the other service waits for, is too late, and a
    502 when there is none otherwise.
    """
    callee = httpx.URL(url).netloc.decode()
    try:
        response = await client.get(url)
        if response.status_code == status.HTTP_504_GATEWAY_TIMEOUT:
            raise HTTPException(response.status_code, f"{callee} waited too long for another service")
        response.raise_for_status()
        return response.json()
    except httpx.TimeoutException as error:
        raise HTTPException(status.HTTP_504_GATEWAY_TIMEOUT, f"{callee} did not answer in time: {error!r}") from error
    except (httpx.HTTPError, ValueError) as error:
        raise HTTPException(status.HTTP_502_BAD_GATEWAY, f"{callee} did not answer: {error!r}") from error
