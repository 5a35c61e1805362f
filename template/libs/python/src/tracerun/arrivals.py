"""Tells of requests when their headers are there, a turn of the event loop before the app is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracerun.settings import HEALTH_PATH

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


def telling_of_arrivals(protocol: type[asyncio.Protocol], arrived: Callable[[], None]) -> type[asyncio.Protocol]:
    """Return `protocol`, one of uvicorn's for HTTP, so that it calls `arrived` for each request but the probes'.

    If a later uvicorn keeps its requests elsewhere than in `cycle`, nothing is told.
    """

    class Telling(protocol):  # type: ignore[misc, valid-type]
        cycle: Any = None

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            super().data_received(data)
            cycle = self.cycle
            if cycle is not None and cycle is not before and cycle.scope["path"] != HEALTH_PATH:
                arrived()

    return Telling
