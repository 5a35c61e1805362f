"""Services outside of the system: stubs that can be made slow or failing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from cloudrun.web_server import WebServer

if TYPE_CHECKING:
    from collections.abc import Mapping


class Upstream(WebServer):
    """Answers every GET with a little JSON, after `delay` seconds, with `status`; remembers the headers it saw."""

    def __init__(self, name: str = "upstream", delay: float = 0.0) -> None:
        """`name` stands in its answers."""
        self._name = name
        self.delay = delay
        self.status = 200
        self.headers: list[Mapping[str, str]] = []
        super().__init__([web.get("/{path:.*}", self._answer)])

    async def _answer(self, request: web.Request) -> web.Response:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if self.delay:
            await asyncio.sleep(self.delay)
        return web.json_response({"path": request.path, "from": self._name}, status=self.status)
