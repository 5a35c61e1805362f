"""Runs a traced service as Cloud Run expects it.

Cloud Run sends SIGTERM and, 10 s later, SIGKILL; the CPU is there in between:
https://cloud.google.com/run/docs/container-contract#instance-shutdown
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from tracerun import logs
from tracerun.arrivals import telling_of_arrivals
from tracerun.request_log import NotTwice
from tracerun.telemetry import Telemetry, setup

if TYPE_CHECKING:
    import socket
    from types import FrameType

    import uvicorn

REQUESTS_LIMIT: Final = 6
"""Seconds in which running requests are finished after SIGTERM."""
SHUTDOWN_LIMIT: Final = 6.5
"""Seconds for the requests and the app's own shutdown together."""
DRAIN_LIMIT: Final = 3.0
"""Seconds in which the last spans are delivered: a limit of their own, whatever the requests took."""

EXIT_LIMIT: Final = 9.0
"""Seconds after which the process ends even if a handler cannot be cancelled."""

_log = logging.getLogger(__name__)


def serve(target: str) -> None:
    """Set up tracing, import the ASGI app `target` ("app.main:app"), serve it on `PORT` (8080) until SIGTERM, exit 0.

    Raises `SystemExit` with one line when `PORT` is no port, and as uvicorn does when the app cannot start.
    """
    # In a container this is process 1, which the kernel spares SIGTERM as long as there is no handler for it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logs.configure()
    telemetry = setup()
    port = _port(os.environ.get("PORT", "8080"))

    # Imported after the set-up, so that instrumentations are in place before the app's modules.
    import uvicorn  # noqa: PLC0415
    from uvicorn.importer import ImportFromStringError, import_from_string  # noqa: PLC0415

    try:
        app = import_from_string(target)
    except ImportFromStringError as error:
        sys.exit(f"serve({target!r}): {error}")
    config = uvicorn.Config(
        telemetry.traced(app),
        host="0.0.0.0",  # noqa: S104 (the container contract asks for it)
        port=port,
        log_config=None,  # its lines go to the root logger, as all others
        access_log=False,  # see RequestLog
        timeout_graceful_shutdown=REQUESTS_LIMIT,
    )
    if telemetry.on_arrival is not None:
        config.load()
        config.http_protocol_class = telling_of_arrivals(config.http_protocol_class, telemetry.on_arrival)
    logging.getLogger("uvicorn.error").addFilter(NotTwice())
    _server(config, telemetry).run()


def _end_by(seconds: float) -> None:
    """End the process in `seconds` if it has not ended by itself: Python waits without limit for threads and tasks."""
    watchdog = threading.Timer(max(seconds, 0.3), _give_up)
    watchdog.daemon = True
    watchdog.start()


def _give_up() -> None:
    _log.warning("a handler or thread did not end in time and was given up")
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def _port(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 1 << 16):
        sys.exit(f"PORT must be a number from 1 to 65535, got {text!r}")
    return int(text)


def _server(config: uvicorn.Config, telemetry: Telemetry) -> uvicorn.Server:
    import uvicorn  # noqa: PLC0415 (see serve)

    class Server(uvicorn.Server):
        """uvicorn, but a signal ends it with exit code 0, and the spans have a time of their own at the end."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 (uvicorn's signature)
            # uvicorn's own also raises the signal again at the end, which would make every shutdown an error (143).
            if self.should_exit and sig == signal.SIGINT:
                self.force_exit = True
            self.should_exit = True

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            # What start-up has made stays: without this each full collection walks through all of it, and spans, which
            # live until they are exported, bring collections about.
            gc.freeze()
            telemetry.listening()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            started = time.monotonic()
            try:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(super().shutdown(sockets), SHUTDOWN_LIMIT)
                    return
                _log.warning("the app's shutdown took more than %.1f s and was given up", SHUTDOWN_LIMIT)
            finally:
                await telemetry.drain(DRAIN_LIMIT)
                _end_by(EXIT_LIMIT - (time.monotonic() - started))

    return Server(config)
