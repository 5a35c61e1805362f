"""HTTP without a client's manners: any bytes as headers, and more requests at once than a client library can make."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

RECEIVE = 1 << 16
LIMIT = 30.0
"""Seconds for one response."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes


class Connection:
    """One connection to a port of this machine; made again when the server has closed it."""

    def __init__(self, port: int) -> None:
        self._address = ("127.0.0.1", port)
        self._socket: socket.socket | None = None

    def get(self, path: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> Answer:
        lines = [
            f"GET {path} HTTP/1.1".encode(),
            b"host: localhost",
            *(name + b": " + value for name, value in headers),
        ]
        if self._socket is None:
            self._socket = socket.create_connection(self._address, LIMIT)
        self._socket.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
        return self._answer()

    def _answer(self) -> Answer:
        assert self._socket is not None
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._received()
        head, _, body = data.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        while len(body) < int(fields.get(b"content-length", b"0")):
            body += self._received()
        if fields.get(b"connection") == b"close":
            self.close()
        return Answer(status, body)

    def _received(self) -> bytes:
        assert self._socket is not None
        data = self._socket.recv(RECEIVE)
        if not data:
            self.close()
            raise ConnectionError("the server closed the connection without an answer")
        return data

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def flood(port: int, path: str, requests: int, connections: int = 16, pipelined: int = 8) -> dict[int, int]:
    """Send `requests` GETs, `pipelined` at a time on each of `connections`, and return how often each status came."""
    statuses: dict[int, int] = {}
    request = f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()

    async def send(rounds: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(rounds):
            writer.write(request * pipelined)
            for _ in range(pipelined):
                head = await reader.readuntil(b"\r\n\r\n")
                status = int(head[9:12])
                statuses[status] = statuses.get(status, 0) + 1
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
                await reader.readexactly(int(length.partition(b":")[2]))
        writer.close()

    rounds = requests // (connections * pipelined)
    await asyncio.gather(*(send(rounds) for _ in range(connections)))
    return statuses
