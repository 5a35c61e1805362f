"""One request on its way through the front end to an instance, and its response on the way back.

It is relayed byte for byte, except that the last piece of a response is held until the instance, if it is idle then,
has no CPU any more: what a client sees complete was complete before the freeze. Every request gets a connection of its
own to the container; a kept one could be closed by a time-out that ran while the instance was frozen.

What the platform does with a request whose client leaves has no source; here its connection to the container is closed
and the request ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import h11

from cloudrun.peer import MAX_HEADERS, PIECE, Peer
from cloudrun.rules import BROKEN_INSTANCE, WEBSOCKETS, imitates

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudrun.instance import Instance

_UNAVAILABLE: Final = 503
_SWITCHING: Final = 101
_EVENT: Final = (h11.InformationalResponse, h11.Response, h11.Data, h11.EndOfMessage)


class Exchange:
    """One request."""

    def __init__(self, instance: Instance, client: Peer, on_end: Callable[[int], None]) -> None:
        """`on_end` gets the status before the last piece leaves: whoever has the response finds all of it done."""
        self._instance = instance
        self._client = client
        self._on_end = on_end
        self._status = 0
        self._left = False
        self._ended = False

    async def run(self, request: h11.Request) -> None:
        """Relay `request`, as the container should see it, and its response."""
        try:
            await self._relay(request)
        finally:
            self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._on_end(self._status)

    @imitates(BROKEN_INSTANCE)
    async def _relay(self, request: h11.Request) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._instance.port, limit=PIECE)
        except OSError:
            await self._break_off("the instance does not accept connections", request.method)
            return
        container = Peer(h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADERS), reader, writer)
        upload = asyncio.create_task(self._upload(container, request))
        try:
            await self._download(container)
        except (h11.RemoteProtocolError, ConnectionError) as error:
            await self._break_off(f"the connection to the instance broke: {error}", request.method)
        finally:
            upload.cancel()
            with contextlib.suppress(asyncio.CancelledError, h11.ProtocolError, OSError):
                await upload
            writer.close()

    async def _break_off(self, reason: str, method: bytes) -> None:
        nothing_sent = not self._left and self._client.protocol.our_state in {h11.IDLE, h11.SEND_RESPONSE}
        if nothing_sent:
            self._status = _UNAVAILABLE
        self._end()
        if nothing_sent:
            await self._client.answer(_UNAVAILABLE, reason, method=method)
        else:
            self._client.writer.transport.abort()

    async def _upload(self, container: Peer, request: h11.Request) -> None:
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
        if not may_switch and await self._client.has_left():
            self._left = True
            container.writer.transport.abort()

    async def _download(self, container: Peer) -> None:
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
    async def _tunnel(self, container: Peer) -> None:
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
    while data := await reader.read(PIECE):
        writer.write(data)
        await writer.drain()
