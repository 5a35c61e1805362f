"""One side of a relayed request: a connection and what HTTP/1.1 says on it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import h11

PIECE: Final = 1 << 16
"""Bytes that are read at a time."""
MAX_HEADERS: Final = 1 << 18
"""Bytes of a request's or response's head."""
_SKIPPED_BYTES: Final = 1 << 24
_SKIPPED_SECONDS: Final = 5.0


class Peer:
    """A connection and its protocol state."""

    def __init__(self, protocol: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.protocol = protocol
        self.reader = reader
        self.writer = writer
        # Asked for now: TLS forgets it when the other side leaves.
        self.address: tuple[str, int] = (writer.get_extra_info("peername") or ("", 0))[:2]
        """The other side's."""

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
        self.protocol.receive_data(await self.reader.read(PIECE))

    async def send(self, event: h11.Event) -> None:
        """Send `event`."""
        data = self.protocol.send(event)
        if data:
            self.writer.write(data)
            await self.writer.drain()

    async def answer(self, status: int, text: str, *more: tuple[str, str], method: bytes = b"GET") -> None:
        """Answer a request of `method` with a response of the front end's own; `more` are headers."""
        body = f"{text}\n".encode()
        headers = [("content-type", "text/plain"), ("content-length", str(len(body))), ("connection", "close"), *more]
        await self.send(h11.Response(status_code=status, headers=headers))
        if method != b"HEAD":
            await self.send(h11.Data(data=body))
        await self.send(h11.EndOfMessage())

    async def skip_body(self) -> None:
        """Read what the client still sends, within bounds: it may hear the answer only after that."""
        if self.protocol.they_are_waiting_for_100_continue:
            return
        taken = 0
        with contextlib.suppress(TimeoutError, OSError, h11.RemoteProtocolError):
            async with asyncio.timeout(_SKIPPED_SECONDS):
                while taken < _SKIPPED_BYTES and isinstance(event := await self.next_event(), h11.Data):
                    taken += len(event.data)

    async def has_left(self) -> bool:
        """Return True when the other side closes; False as soon as it sends the next request."""
        try:
            data = await self.reader.read(PIECE)
        except OSError:
            return True
        if data:
            self.protocol.receive_data(data)
        return not data
