"""Start-up probes over HTTP."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import httpx

from cloudrun.errors import StartFailed
from cloudrun.rules import STARTUP_PROBE, imitates

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudrun.processes import Processes

STARTUP_LIMIT: Final = 60.0
"""Seconds in which a start-up probe must succeed; Cloud Run allows up to 240."""
_PROBE_EVERY: Final = 0.02


@imitates(STARTUP_PROBE)
async def until_healthy(name: str, processes: Processes, url: str, last_line: Callable[[], str]) -> None:
    """Return when `url` answers with a 2xx status.

    Raises `StartFailed` with the container's last line when it ends or does not answer in time; it is ended then.
    """
    end = time.monotonic() + STARTUP_LIMIT
    async with httpx.AsyncClient(trust_env=False) as client:
        while not await _is_healthy(client, url):
            if processes.exit_code is not None:
                await processes.wait()
                raise StartFailed(f"{name} ended with {processes.exit_code}: {last_line()}")
            if time.monotonic() > end:
                processes.kill()
                raise StartFailed(f"{name} did not answer {httpx.URL(url).path}: {last_line()}")
            await asyncio.sleep(_PROBE_EVERY)


async def _is_healthy(client: httpx.AsyncClient, url: str) -> bool:
    try:
        response = await client.get(url, timeout=1)
    except httpx.HTTPError:
        return False
    return response.is_success
