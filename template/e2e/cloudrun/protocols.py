"""The protocols of OTLP, as OpenTelemetry's variable names them."""

from __future__ import annotations

from typing import Final

PROTOCOL: Final = "OTEL_EXPORTER_OTLP_PROTOCOL"
"""A service that asks for another protocol than `HTTP` does so in its `env`."""
HTTP: Final = "http/protobuf"
GRPC: Final = "grpc"
