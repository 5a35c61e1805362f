"""A traced service under uvicorn that trusts its callers."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

import uvicorn
from recorder import Recorder

from tracerun.settings import Settings
from tracerun.telemetry import build

if TYPE_CHECKING:
    from tracerun.middleware import ASGIApp


class Served:
    """Serves `app` at `url` until the `with` block ends; `stop` waits for running requests."""

    def __init__(self, app: ASGIApp, *, trust: bool = True) -> None:
        telemetry = build(Settings(trust_callers=trust, on_idle=False), Recorder)
        config = uvicorn.Config(telemetry.traced(app), host="127.0.0.1", port=0, log_config=None, lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        end = time.monotonic() + 10
        while not self._server.started:
            assert time.monotonic() < end, "the service did not start"
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive(), "the service did not stop"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
