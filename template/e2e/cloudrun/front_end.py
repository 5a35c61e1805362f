"""The HTTP/1.1 front end of one service.

It relays byte for byte, except that the last piece of a response is held until the instance, if it is idle then, has no
CPU any more: what a client sees complete was complete before the freeze. Every request gets a connection of its own to
the container; a kept one could be closed by a time-out that ran while the instance was frozen.

Not imitated: HTTP/2, request time-outs, queueing above the concurrency limit. What the platform does with a request
whose client leaves has no source; here its connection to the container is closed and the request ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import h11

from cloudrun.rules import BROKEN_INSTANCE, WEBSOCKETS, imitates
from cloudrun.trace_headers import PlatformSampler, PlatformSpan, at_front_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudrun.instance import Instance

_PIECE: Final = 1 << 16
_MAX_HEADERS: Final = 1 << 18
_UNAVAILABLE: Final = 503
_SWITCHING: Final = 101
_EVENT: Final = (h11.InformationalResponse, h11.Response, h11.Data, h11.EndOfMessage)


@dataclass(frozen=True)
class RequestLog:
    """One line of the request log."""

    service: str
    client: tuple[str, int]
    """Address from which the request came."""
    method: str
    path: str
    status: int
    """0 when the client left before there was one."""
    span: PlatformSpan
    started_ns: int
    ended_ns: int


class FrontEnd:
    """Listens on one port for one service."""

    def __init__(
        self, service: str, instance: Callable[[], Instance], on_request: Callable[[RequestLog], None]
    ) -> None:
        """`instance` gives the instance that takes the next request; `on_request` gets every answered one."""
        self._service = service
        self._instance = instance
        self._on_request = on_request
        self._server: asyncio.Server | None = None
        self.sampler = PlatformSampler()
        self.port = 0

    async def start(self) -> None:
        """Listen on a free port of this machine."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Peer(h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEADERS), reader, writer)
        try:
            while isinstance(request := await client.next_event(), h11.Request):
                instance = self._instance()
                await _Exchange(self._service, instance, client, self.sampler, self._on_request, request).run()
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


class _Peer:
    """A connection and its protocol state."""

    def __init__(self, protocol: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.protocol = protocol
        self.reader = reader
        self.writer = writer

    def ready_event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        """Return the next event if the bytes for it are there."""
        return self.protocol.next_event()

    async def next_event(self) -> h11.Event | type[h11.PAUSED]:
        """Return the next event, reading as needed."""
        while True:
            event = self.protocol.next_event()
            if isinstance(event, h11.Event) or event is h11.PAUSED:
                return event
            await self.read()

    async def read(self) -> None:
        """Take more bytes, or the end of them, from the connection."""
        self.protocol.receive_data(await self.reader.read(_PIECE))

    async def send(self, event: h11.Event) -> None:
        """Send `event`."""
        data = self.protocol.send(event)
        if data:
            self.writer.write(data)
            await self.writer.drain()

    async def answer(self, status: int, text: str) -> None:
        """Answer with a response of the front end's own."""
        body = f"{text}\n".encode()
        headers = [("content-type", "text/plain"), ("content-length", str(len(body))), ("connection", "close")]
        await self.send(h11.Response(status_code=status, headers=headers))
        await self.send(h11.Data(data=body))
        await self.send(h11.EndOfMessage())


class _Exchange:
    """One request on its way through."""

    def __init__(
        self,
        service: str,
        instance: Instance,
        client: _Peer,
        sampler: PlatformSampler,
        on_request: Callable[[RequestLog], None],
        request: h11.Request,
    ) -> None:
        self._service = service
        self._instance = instance
        self._client = client
        self._on_request = on_request
        self._request = request
        self._headers, self._span = at_front_end(list(request.headers), sampler)
        self._started = time.time_ns()
        self._status = 0
        self._left = False
        self._ended = False

    async def run(self) -> None:
        request = self._request
        self._instance.begin_request()
        try:
            await self._relay(h11.Request(method=request.method, target=request.target, headers=self._headers))
        finally:
            self._end()

    def _end(self) -> None:
        """End the request, before its last piece leaves: whoever has the response finds all of this done."""
        if self._ended:
            return
        self._ended = True
        self._instance.end_request()
        self._on_request(
            RequestLog(
                self._service,
                self._client.writer.get_extra_info("peername")[:2],
                self._request.method.decode(),
                self._request.target.decode("latin-1"),
                self._status,
                self._span,
                self._started,
                time.time_ns(),
            )
        )

    @imitates(BROKEN_INSTANCE)
    async def _relay(self, request: h11.Request) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._instance.port, limit=_PIECE)
        except OSError:
            await self._break_off("the instance does not accept connections")
            return
        container = _Peer(h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEADERS), reader, writer)
        upload = asyncio.create_task(self._upload(container, request))
        try:
            await self._download(container)
        except (h11.RemoteProtocolError, ConnectionError) as error:
            await self._break_off(f"the connection to the instance broke: {error}")
        finally:
            upload.cancel()
            with contextlib.suppress(asyncio.CancelledError, h11.ProtocolError, OSError):
                await upload
            writer.close()

    async def _break_off(self, reason: str) -> None:
        nothing_sent = not self._left and self._client.protocol.our_state in {h11.IDLE, h11.SEND_RESPONSE}
        if nothing_sent:
            self._status = _UNAVAILABLE
        self._end()
        if nothing_sent:
            await self._client.answer(_UNAVAILABLE, reason)
        else:
            self._client.writer.transport.abort()

    async def _upload(self, container: _Peer, request: h11.Request) -> None:
        await container.send(request)
        while True:
            event = await self._client.next_event()
            if not isinstance(event, (h11.Data, h11.EndOfMessage)):
                return
            await container.send(event)
            if isinstance(event, h11.EndOfMessage):
                break
        # Watch for the client to leave, unless it may go on with another protocol: then `_tunnel` reads from it.
        may_switch = self._client.protocol.their_state not in {h11.DONE, h11.MUST_CLOSE}
        if not may_switch and await _has_left(self._client):
            self._left = True
            container.writer.transport.abort()

    async def _download(self, container: _Peer) -> None:
        held: list[h11.Event] = []
        while True:
            event = container.ready_event()
            if event is h11.NEED_DATA:
                for piece in held:
                    await self._client.send(piece)
                held = []
                await container.read()
                continue
            if not isinstance(event, _EVENT):
                raise h11.RemoteProtocolError("the instance closed the connection in the middle of a response")
            if isinstance(event, (h11.InformationalResponse, h11.Response)):
                self._status = event.status_code
            held.append(event)
            if self._status == _SWITCHING:
                await self._client.send(event)
                await self._tunnel(container)
                return
            if isinstance(event, h11.EndOfMessage):
                self._end()
                for piece in held:
                    await self._client.send(piece)
                return

    @imitates(WEBSOCKETS)
    async def _tunnel(self, container: _Peer) -> None:
        early, _ = container.protocol.trailing_data
        if early:
            self._client.writer.write(early)
        done, running = await asyncio.wait(
            {
                asyncio.create_task(_pipe(self._client.reader, container.writer)),
                asyncio.create_task(_pipe(container.reader, self._client.writer)),
            },
            return_when=asyncio.FIRST_COMPLETED,
        )
        for task in running:
            task.cancel()
        await asyncio.gather(*done, *running, return_exceptions=True)
        self._end()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_PIECE):
        writer.write(data)
        await writer.drain()


async def _has_left(client: _Peer) -> bool:
    """Return True when the client closes; False as soon as it sends the next request."""
    try:
        data = await client.reader.read(_PIECE)
    except OSError:
        return True
    if data:
        client.protocol.receive_data(data)
    return not data
