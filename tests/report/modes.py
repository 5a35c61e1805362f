"""The ways in which a service can export: the rows of both tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudrun.protocols import GRPC, PROTOCOL

from tests.project import set_topology, with_app

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Mode:
    exporter: str
    billing: str
    protocol: str = ""
    """Empty for the default."""

    def __str__(self) -> str:
        return f"{self.exporter}{', gRPC' if self.protocol else ''}"

    def render(self, project: Path, folder: Path) -> Path:
        """Copy the default project, with the routes of tests/apps/shapes.py, in this mode."""
        copy = with_app(project, folder / str(self).replace(", ", "-") / self.billing, "shapes")
        env = {PROTOCOL: self.protocol} if self.protocol else {}
        set_topology(copy, {"exporter": self.exporter, "billing": self.billing}, env)
        return copy


MODES = [
    Mode(exporter, billing, protocol)
    for billing in ("request", "instance")
    for exporter, protocol in (("sidecar", ""), ("direct", ""), ("direct", GRPC))
]
