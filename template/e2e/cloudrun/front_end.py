"""The HTTP/1.1 front end of one service: two addresses, one for the world and one for the VPC network.

Not imitated: HTTP/2, request time-outs.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

import h11

from cloudrun.access import Refusal
from cloudrun.exchange import Exchange
from cloudrun.peer import MAX_HEADERS, Peer
from cloudrun.request_log import RequestLog
from cloudrun.rules import REFUSALS_LOGGED, imitates
from cloudrun.tls import HOST
from cloudrun.trace_headers import PlatformSampler, at_front_end, unsampled

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from cloudrun.access import Access
    from cloudrun.instances import Instances
    from cloudrun.trace_headers import PlatformSpan

_CHALLENGES: Final = {401: (("www-authenticate", "Bearer"),)}


class FrontEnd:
    """Listens for one service: in plain HTTP for who calls from outside, in TLS for what comes from the VPC network."""

    def __init__(
        self, service: str, access: Access, instances: Instances, on_request: Callable[[RequestLog], None]
    ) -> None:
        """`on_request` gets every answered request."""
        self._service = service
        self._access = access
        self._instances = instances
        self._on_request = on_request
        self._servers: list[asyncio.Server] = []
        self.sampler = PlatformSampler()
        self.url = ""
        """Where the service is reached from outside."""
        self.inside_url = ""
        """Where the service is reached from the VPC network."""

    async def start(self, tls: ssl.SSLContext) -> None:
        """Listen on two free ports of this machine; `tls` is that of the inner one."""
        self.url = f"http://{HOST}:{await self._listen(None)}"
        self.inside_url = f"https://{HOST}:{await self._listen(tls)}"

    async def _listen(self, tls: ssl.SSLContext | None) -> int:
        outside = tls is None

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(reader, writer, outside=outside)

        server = await asyncio.start_server(serve, HOST, 0, ssl=tls)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Stop listening."""
        for server in self._servers:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, outside: bool) -> None:
        client = Peer(h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADERS), reader, writer)
        try:
            while isinstance(request := await client.next_event(), h11.Request):
                await self._answer(client, request, outside=outside)
                if client.protocol.our_state is not h11.DONE or client.protocol.their_state is not h11.DONE:
                    break
                client.protocol.start_next_cycle()
        except h11.RemoteProtocolError as error:
            with contextlib.suppress(h11.LocalProtocolError, OSError):
                await client.answer(error.error_status_hint, str(error))
        except OSError:
            pass  # the client has left
        finally:
            writer.close()

    async def _answer(self, client: Peer, request: h11.Request, *, outside: bool) -> None:
        started = time.time_ns()
        headers = self._access.check(list(request.headers), outside=outside)
        if isinstance(headers, Refusal):
            await self._refuse(client, request, headers, started)
            return
        instance = await self._instances.take()
        if isinstance(instance, Refusal):
            await self._refuse(client, request, instance, started)
            return
        passed, span = at_front_end(headers, self.sampler)

        def ended(status: int) -> None:
            self._instances.give_back(instance)
            self._log(client, request, status, span, started)

        seen = h11.Request(method=request.method, target=request.target, headers=passed)
        await Exchange(instance, client, ended).run(seen)

    @imitates(REFUSALS_LOGGED)
    async def _refuse(self, client: Peer, request: h11.Request, refusal: Refusal, started: int) -> None:
        span = unsampled(list(request.headers))
        self._log(client, request, refusal.status, span, started, refusal.reason)
        challenge = _CHALLENGES.get(refusal.status, ())
        await client.answer(refusal.status, refusal.reason, *challenge, method=request.method)
        await client.skip_body()

    def _log(
        self,
        client: Peer,
        request: h11.Request,
        status: int,
        span: PlatformSpan,
        started: int,
        refusal: str | None = None,
    ) -> None:
        self._on_request(
            RequestLog(
                self._service,
                client.address,
                request.method.decode(),
                request.target.decode("latin-1"),
                status,
                span,
                started,
                time.time_ns(),
                refusal,
            )
        )
