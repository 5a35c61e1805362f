"""The protocols of OTLP, as OpenTelemetry's variable names them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PROTOCOL: Final = "OTEL_EXPORTER_OTLP_PROTOCOL"
"""A service that asks for another protocol than `HTTP` does so in its `env`."""
HTTP: Final = "http/protobuf"
GRPC: Final = "grpc"


def protocol_of(env: Mapping[str, str]) -> str:
    """Return the protocol that a service's `env` asks for."""
    return env.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or env.get(PROTOCOL) or HTTP
