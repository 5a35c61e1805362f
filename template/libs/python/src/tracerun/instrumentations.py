"""Loads the instrumentations that a service has installed: adding `opentelemetry-instrumentation-…` is enough."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from opentelemetry.distro import OpenTelemetryDistro

_log = logging.getLogger(__name__)

_GROUP: Final = "opentelemetry_instrumentor"
OWN: Final = frozenset(
    {
        "asgi",
        "fastapi",
        "grpc_aio_client",
        "grpc_aio_server",
        "grpc_client",
        "grpc_server",
        "httpx",
        "starlette",
    }
)
"""What this library traces itself, and others would trace once more."""

_STABLE_NAMES: Final = "http,database"


def load_instrumentations() -> list[str]:
    """Load every installed instrumentation and return their names; call it before the app's modules are imported.

    `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS` names those to leave out. One whose library is not installed is passed over;
    one that does not fit its library's version, or fails, is named in a WARNING. Never raises.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415 (10 ms of cold start for whoever never calls this)

    disabled = {name.strip() for name in os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")}
    found = [entry for entry in entry_points(group=_GROUP) if entry.name not in OWN | disabled]
    if not found:
        return []
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", _STABLE_NAMES)
    from opentelemetry.distro import OpenTelemetryDistro  # noqa: PLC0415 (only where there is something to load)

    # Its configure() is not called: that would choose exporters, which are chosen already.
    distro = OpenTelemetryDistro()
    return [entry.name for entry in found if _load(entry, distro)]


def _load(entry: EntryPoint, distro: OpenTelemetryDistro) -> bool:
    from opentelemetry.instrumentation.dependencies import get_dist_dependency_conflicts  # noqa: PLC0415

    try:
        conflict = None if entry.dist is None else get_dist_dependency_conflicts(entry.dist)
        if conflict is not None:
            if conflict.found:
                _log.warning("instrumentation %s is not loaded: %s", entry.name, conflict)
            return False
        distro.load_instrumentor(entry, skip_dep_check=True)
    except ModuleNotFoundError:  # the library that it instruments
        return False
    except Exception as error:  # noqa: BLE001 (tracing is never in the way)
        _log.warning("instrumentation %s is not loaded: %r", entry.name, error)
        return False
    return True
