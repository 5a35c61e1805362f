"""Tracing for Cloud Run: one trace per request, and no span lost when the CPU is taken away.

`serve("app.main:app")` is the whole set-up of a service. `setup()` and `Telemetry.traced()` are its parts, for
services that bring a server of their own. Outgoing requests: `tracerun.httpx`.
"""

from tracerun.serve import serve
from tracerun.telemetry import Telemetry, setup

__all__ = ["Telemetry", "serve", "setup"]
