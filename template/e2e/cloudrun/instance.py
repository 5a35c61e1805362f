"""One instance of a service: its life cycle, and the CPU that it has only while it is active."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cloudrun import environment
from cloudrun.command import container_command, tool_path
from cloudrun.errors import NotSimulated, StartFailed
from cloudrun.log_lines import readable
from cloudrun.ports import free_port
from cloudrun.probe import until_healthy
from cloudrun.processes import Processes
from cloudrun.rules import CPU_WHILE_ACTIVE, SIDECAR_CPU, SIDECAR_ORDER, SIGTERM, imitates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from cloudrun.collector import Collector
    from cloudrun.topology import Service, Topology

HEALTH_PATH: Final = "/health"
GRACE: Final = 10.0
"""Seconds between SIGTERM and SIGKILL."""

# Of the machine's own environment a container sees nothing but what programs need to run at all.
_PASSED: Final = ("HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")


@dataclass(frozen=True)
class Exit:
    """How an instance ended."""

    code: int
    """Exit code of the service; negative for the signal that ended it."""
    seconds: float
    """From SIGTERM to the end of the last container."""
    collector: int | None = None
    """Exit code of the collector, where there is one."""


class Instance:
    """The container of one service, and its collector's where there is one."""

    def __init__(
        self,
        topology: Topology,
        service: Service,
        folder: Path,
        addresses: environment.Addresses,
        extra: Mapping[str, str],
        on_line: Callable[[str], None],
        collector: Collector | None = None,
    ) -> None:
        """`extra` are variables on top of the contract, for tests."""
        self.service = service
        self.port = free_port()
        self.freezes = 0
        self.active = 0
        self.frozen = False
        self._has_cpu_always = topology.billing == "instance"
        self._in_life_cycle = True
        self._folder = folder
        self._on_line = on_line
        self._last_line = "it wrote nothing"
        self._environment = {
            **{name: os.environ[name] for name in _PASSED if name in os.environ},
            "PATH": tool_path(service, folder),
            **environment.platform(topology, service, self.port),
            **environment.simulator(topology, service, addresses),
            **environment.contract(topology, service, addresses),
            **extra,
        }
        self._processes: Processes | None = None
        self._collector = collector

    @property
    def environment(self) -> Mapping[str, str]:
        """All variables of the container."""
        return self._environment

    @property
    def processes(self) -> Processes:
        """The container's processes. Raises `StartFailed` before `start`."""
        if self._processes is None:
            raise StartFailed(f"{self.service.name} was not started")
        return self._processes

    @property
    def collector(self) -> Collector:
        """The collector beside the service. Raises `NotSimulated` where the Telemetry API stands in for it."""
        if self._collector is None:
            raise NotSimulated(f"{self.service.name} has no collector: set COLLECTOR_BINARY")
        return self._collector

    @imitates(SIDECAR_ORDER)
    async def start(self) -> None:
        """Start the containers and return when their start-up probes succeed; idle, so without CPU.

        Raises `StartFailed` with the last line of the container that ends or does not answer.
        """
        if self._collector is not None:
            await self._collector.start()
        command = container_command(self._folder)
        self._processes = await Processes.start(command, self._folder, self._environment, self._line)
        health = f"http://127.0.0.1:{self.port}{HEALTH_PATH}"
        await until_healthy(self.service.name, self._processes, health, lambda: self._last_line)
        self._in_life_cycle = False
        self._take_cpu_if_idle()

    def begin_request(self) -> None:
        """Give the instance a request, and the CPU that comes with it."""
        self.active += 1
        if self.frozen:
            self.frozen = False
            for container in self._running():
                container.thaw()

    def end_request(self) -> None:
        """End a request; when this returns an idle instance has no CPU any more."""
        self.active -= 1
        self._take_cpu_if_idle()

    @imitates(CPU_WHILE_ACTIVE, SIDECAR_CPU)
    def _take_cpu_if_idle(self) -> None:
        if self.active or self.frozen or self._has_cpu_always or self._in_life_cycle:
            return
        if self.processes.exit_code is None:
            for container in self._running():
                container.freeze()
            self.frozen = True
            self.freezes += 1

    @property
    def is_running(self) -> bool:
        """Whether a container has started and not ended."""
        return bool(self._running())

    @property
    def has_ended(self) -> bool:
        """Whether the service's container has started and ended."""
        return self._processes is not None and self._processes.exit_code is not None

    @property
    def takes_requests(self) -> bool:
        """Whether it has started and is not being shut down."""
        return not self._in_life_cycle and self.processes.exit_code is None

    @imitates(SIGTERM)
    async def terminate(self) -> Exit:
        """Shut the instance down as the platform does, with CPU; SIGKILL after 10 s."""
        started = time.monotonic()
        self._in_life_cycle = True
        self.frozen = False
        running = self._running()
        for container in running:
            container.thaw()
        for container in running:
            container.terminate()
        ended = asyncio.gather(*(container.wait() for container in running))
        try:
            await asyncio.wait_for(asyncio.shield(ended), GRACE)
        except TimeoutError:
            await self.kill()
            await ended
        code = await self.processes.wait()
        collector = None if self._collector is None else self._collector.processes.exit_code
        return Exit(code, time.monotonic() - started, collector)

    async def kill(self) -> None:
        """End the instance without any warning, frozen or not."""
        self._in_life_cycle = True
        self.frozen = False
        running = self._running()
        for container in running:
            container.kill()
        for container in running:
            await container.wait()

    async def start_collector(self, extra: Mapping[str, str]) -> None:
        """Start the collector anew after it has ended; like the service it has CPU only while requests are active."""
        await self.collector.start(extra)
        if self.frozen:
            self.collector.processes.freeze()

    async def output_read(self) -> None:
        """Return when every line is read that the running containers have written so far."""
        for container in self._running():
            await container.output_read()

    def _running(self) -> list[Processes]:
        containers = [self._processes, None if self._collector is None else self._collector.started]
        return [container for container in containers if container is not None and container.exit_code is None]

    def _line(self, line: str) -> None:
        self._last_line = readable(line).strip().rpartition("\n")[2] or self._last_line
        self._on_line(line)
