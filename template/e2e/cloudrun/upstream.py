"""The service outside of the system, at UPSTREAM_URL: a stub that can be made slow or failing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from cloudrun.web_server import WebServer

if TYPE_CHECKING:
    from collections.abc import Mapping


class Upstream:
    """Answers every GET with a little JSON, after `delay` seconds, with `status`; remembers the headers it saw."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.status = 200
        self.headers: list[Mapping[str, str]] = []
        self._server = WebServer([web.get("/{path:.*}", self._answer)])

    @property
    def url(self) -> str:
        """The address, without a path."""
        return self._server.url

    async def start(self) -> None:
        """Listen."""
        await self._server.start()

    async def stop(self) -> None:
        """Stop listening."""
        await self._server.stop()

    async def _answer(self, request: web.Request) -> web.Response:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if self.delay:
            await asyncio.sleep(self.delay)
        return web.json_response({"path": request.path, "from": "upstream"}, status=self.status)
