"""Requests as tests send them: one after the other, or many at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cloudrun import CloudRun
    from cloudrun.client import Reply

SINGLE_REQUESTS: Final = 20
BURST: Final = 200
CLIENTS: Final = 8
PATIENT: Final = {"TRACERUN_FLUSH_DEADLINE_MS": "5000"}
"""For tests that count spans under load: how long a response waits for them there says how busy the machine is."""


def burst(run: CloudRun, path: str = "/plain") -> list[Reply]:
    """Send `BURST` requests, `CLIENTS` at a time."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        return list(clients.map(lambda _: run.get(path), range(BURST)))


def waits(run: CloudRun, requests: int) -> list[float]:
    """Return how long each of some requests took, in seconds; all must be answered well."""
    seconds = []
    for _ in range(requests):
        began = time.monotonic()
        reply = run.get("/plain")
        seconds.append(time.monotonic() - began)
        assert reply.status == 200, reply
    return seconds
