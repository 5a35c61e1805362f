"""The program in both containers of the probe: tells the headers and the CPU that it gets, and logs its end.

It runs in an image that holds nothing but Python, so it uses the standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.request import urlopen

TICK: Final = 0.05
NAME: Final = os.environ.get("PROBE_CONTAINER", "app")
RUN: Final = os.environ.get("PROBE_RUN", "")
SIDECAR: Final = os.environ.get("PROBE_SIDECAR")
SHOWN: Final = ("PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION")

ticks: list[float] = []


def say(**fields: Any) -> None:
    """Write one JSON line."""
    sys.stdout.write(json.dumps({"probe": NAME, "run": RUN, "at": time.time(), **fields}) + "\n")
    sys.stdout.flush()


def state() -> dict[str, Any]:
    """Return the environment, and when this container had CPU."""
    found: dict[str, Any] = {"environment": {key: os.environ[key] for key in SHOWN if key in os.environ}}
    found["ticks"] = ticks[-4000:]
    if SIDECAR:
        with urlopen(SIDECAR, timeout=5) as answer:
            found["sidecar"] = json.load(answer)
    return found


class Handler(BaseHTTPRequestHandler):
    """Answers every GET with what this container sees."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer."""
        headers = [(name.lower(), value) for name, value in self.headers.items()]
        seen = {} if self.path == "/health" else state()
        body = json.dumps({"headers": headers, **seen}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Write no access log."""


def tick() -> None:
    """Note the time for as long as there is CPU."""
    while True:
        ticks.append(time.time())
        time.sleep(TICK)


def end(*_: Any) -> None:
    """Say that SIGTERM came, and go on until SIGKILL, saying so."""
    say(event="SIGTERM")
    while True:
        time.sleep(0.2)
        say(event="alive")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=tick, daemon=True).start()
    port = int(os.environ.get("PORT") or os.environ["PROBE_PORT"])
    ThreadingHTTPServer(("", port), Handler).serve_forever()
