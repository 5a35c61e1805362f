"""A small HTTP server on a port of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from cloudrun.ports import free_port

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence


class WebServer:
    """Serves `routes` on 127.0.0.1, on a port that stays its own over `stop` and `resume`."""

    def __init__(
        self, routes: Sequence[web.RouteDef], *, client_max_size: int = 1 << 20, tls: ssl.SSLContext | None = None
    ) -> None:
        self._app = web.Application(client_max_size=client_max_size)
        self._app.add_routes(routes)
        self._tls = tls
        self._runner: web.AppRunner | None = None
        self._port = free_port()

    @property
    def url(self) -> str:
        """The address, without a path."""
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen."""
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls).start()

    async def stop(self) -> None:
        """Stop listening and close all connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
