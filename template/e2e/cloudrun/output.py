"""What a container writes, line by line."""

from __future__ import annotations

import asyncio
import os
import select
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST: Final = 1 << 20
"""Bytes after which a line is given on without its end."""


class Output(asyncio.Protocol):
    """The reading end of a pipe; `on_line` gets each line as soon as it is read."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = b""
        self._ended = asyncio.Event()
        self._descriptor = -1

    async def open(self) -> int:
        """Return the writing end of a new pipe, which the caller must close once a process has it."""
        reading, writing = os.pipe()
        self._descriptor = reading
        await asyncio.get_running_loop().connect_read_pipe(lambda: self, os.fdopen(reading, "rb", 0))
        return writing

    def data_received(self, data: bytes) -> None:
        """Give complete lines on."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._on_line(line.decode("utf-8", "replace"))

    def connection_lost(self, _error: Exception | None) -> None:
        """Give the last line on, if it has no end."""
        if self._rest:
            self._on_line(self._rest.decode("utf-8", "replace"))
        self._ended.set()

    async def caught_up(self) -> None:
        """Return when all is read that has been written so far; for a process that is stopped, all of it."""
        # The event loop reads the pipe, so it needs its turns.
        while not self._ended.is_set() and select.select([self._descriptor], [], [], 0)[0]:  # noqa: ASYNC110
            await asyncio.sleep(0)

    async def ended(self) -> None:
        """Return when nobody can write any more and all is read."""
        await self._ended.wait()
