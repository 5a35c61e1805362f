"""The sidecar: a real OpenTelemetry Collector, where this machine has one, with the project's own config.

It has what Google's image has on Cloud Run, but for its addresses: ports of its own, since many instances share this
machine, and the imitated Telemetry API and metadata server. What Cloud Run does with an instance whose sidecar ends
is not imitated: here the service goes on without it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloudrun import environment
from cloudrun.errors import StartFailed
from cloudrun.ports import free_port
from cloudrun.probe import until_healthy
from cloudrun.processes import Processes
from cloudrun.protocols import GRPC, HTTP

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cloudrun.topology import Service, Topology

VARIABLE: Final = "COLLECTOR_BINARY"
"""Names the collector to run; empty for none."""
NAMES: Final = ("otelcol-google", "otelcol")
"""The programs that are looked for on PATH."""
FOLDER: Final = "collector"
_NO_VALUE: Final[Mapping[str, str]] = {}


def find_binary() -> Path | None:
    """Return the collector of this machine, or None. Raises `StartFailed` when the one that is named is no program."""
    named = os.environ.get(VARIABLE)
    if named is None:
        found = next(filter(None, map(shutil.which, NAMES)), None)
    elif named:
        found = shutil.which(named)
        if found is None:
            raise StartFailed(f"{VARIABLE}={named}: is no program: name a collector, or leave it empty for none")
    else:
        found = None
    return Path(found).resolve() if found else None


def contract() -> dict[str, str]:
    """Return the variables that Terraform sets for the collector's container."""
    return {"GOOGLE_CLOUD_PROJECT": environment.PROJECT_ID}


class Collector:
    """The collector's container of one instance."""

    def __init__(
        self,
        binary: Path,
        project: Path,
        topology: Topology,
        service: Service,
        addresses: environment.Addresses,
        extra: Mapping[str, str],
        on_line: Callable[[str], None],
    ) -> None:
        """`extra` are variables on top of the contract, for tests."""
        self._name = f"{service.name}/collector"
        self._folder = project / FOLDER
        self._command = [str(binary), "--config", f"{topology.billing}.yaml"]
        self._on_line = on_line
        self._last_line = "it wrote nothing"
        self._health = f"127.0.0.1:{free_port()}"
        http, grpc = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.urls = {HTTP: f"http://{http}", GRPC: f"http://{grpc}"}
        """Where it takes OTLP, by protocol."""
        platform = environment.platform(topology, service, 0)
        del platform["PORT"]  # the ingress container's alone
        self._environment = {
            "PATH": os.defpath,
            # Not the developer's: Google credentials may lie there, and would go before the metadata server's.
            "HOME": str(self._folder),
            **platform,
            "GCE_METADATA_HOST": addresses.metadata.removeprefix("http://"),
            "EXPORT_ENDPOINT": addresses.telemetry_api,
            "SSL_CERT_FILE": str(addresses.authority),
            "HEALTH_CHECK_ENDPOINT": self._health,
            "OTLP_HTTP_ENDPOINT": http,
            "OTLP_GRPC_ENDPOINT": grpc,
            **contract(),
            **extra,
        }
        self.started: Processes | None = None
        """The container's processes, None before `start`."""

    @property
    def processes(self) -> Processes:
        """The container's processes. Raises `StartFailed` before `start`."""
        if self.started is None:
            raise StartFailed(f"{self._name} was not started")
        return self.started

    async def start(self, extra: Mapping[str, str] = _NO_VALUE) -> None:
        """Start it, anew after it has ended, and return when its health check succeeds. Raises `StartFailed`."""
        variables = {**self._environment, **extra}
        self.started = await Processes.start(self._command, self._folder, variables, self._line)
        try:
            await until_healthy(self._name, self.started, f"http://{self._health}/", lambda: self._last_line)
        except StartFailed as error:
            raise StartFailed(f"{error} (another collector, or none: set {VARIABLE})") from error

    async def kill(self) -> None:
        """End it without any warning."""
        self.processes.kill()
        await self.processes.wait()

    def _line(self, line: str) -> None:
        self._last_line = line.strip() or self._last_line
        self._on_line(line)
