"""One instance of a service: its life cycle, and the CPU that it has only while it is active."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx

from cloudrun import environment
from cloudrun.command import container_command, tool_path
from cloudrun.errors import StartFailed
from cloudrun.log_lines import readable
from cloudrun.ports import free_port
from cloudrun.processes import Processes
from cloudrun.rules import CPU_WHILE_ACTIVE, SIGTERM, STARTUP_PROBE, imitates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from cloudrun.topology import Service, Topology

HEALTH_PATH: Final = "/health"
STARTUP_LIMIT: Final = 60.0
"""Seconds in which the start-up probe must succeed; Cloud Run allows up to 240."""
GRACE: Final = 10.0
"""Seconds between SIGTERM and SIGKILL."""
_PROBE_EVERY: Final = 0.02

# Of the machine's own environment a container sees nothing but what programs need to run at all.
_PASSED: Final = ("HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")


@dataclass(frozen=True)
class Exit:
    """How an instance ended."""

    code: int
    """Exit code; negative for the signal that ended it."""
    seconds: float
    """From SIGTERM to the end."""


class Instance:
    """One container of one service."""

    def __init__(
        self,
        topology: Topology,
        service: Service,
        folder: Path,
        addresses: environment.Addresses,
        extra: Mapping[str, str],
        on_line: Callable[[str], None],
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
            **environment.simulator(addresses),
            **environment.contract(topology, service, addresses),
            **extra,
        }
        self._processes: Processes | None = None

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

    @imitates(STARTUP_PROBE)
    async def start(self) -> None:
        """Start the container and return when its start-up probe succeeds; idle, so without CPU.

        Raises `StartFailed` with its last line when it ends or does not answer.
        """
        command = container_command(self._folder)
        self._processes = await Processes.start(command, self._folder, self._environment, self._line)
        end = time.monotonic() + STARTUP_LIMIT
        async with httpx.AsyncClient(trust_env=False) as client:
            while not await _is_healthy(client, self.port):
                if self._processes.exit_code is not None:
                    await self._processes.wait()
                    raise StartFailed(f"{self.service.name} ended with {self._processes.exit_code}: {self._last_line}")
                if time.monotonic() > end:
                    self._processes.kill()
                    raise StartFailed(f"{self.service.name} did not answer {HEALTH_PATH}: {self._last_line}")
                await asyncio.sleep(_PROBE_EVERY)
        self._in_life_cycle = False
        self._take_cpu_if_idle()

    def begin_request(self) -> None:
        """Give the instance a request, and the CPU that comes with it."""
        self.active += 1
        if self.frozen:
            self.frozen = False
            self.processes.thaw()

    def end_request(self) -> None:
        """End a request; when this returns an idle instance has no CPU any more."""
        self.active -= 1
        self._take_cpu_if_idle()

    @imitates(CPU_WHILE_ACTIVE)
    def _take_cpu_if_idle(self) -> None:
        if self.active or self.frozen or self._has_cpu_always or self._in_life_cycle:
            return
        if self.processes.exit_code is None:
            self.processes.freeze()
            self.frozen = True
            self.freezes += 1

    @property
    def is_running(self) -> bool:
        """Whether the container has started and not ended."""
        return self._processes is not None and self._processes.exit_code is None

    @imitates(SIGTERM)
    async def terminate(self) -> Exit:
        """Shut the instance down as the platform does, with CPU; SIGKILL after 10 s."""
        started = time.monotonic()
        self._in_life_cycle = True
        self.frozen = False
        self.processes.thaw()
        self.processes.terminate()
        try:
            code = await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(self.processes.wait())), GRACE)
        except TimeoutError:
            code = await self.kill()
        return Exit(code, time.monotonic() - started)

    async def kill(self) -> int:
        """End the instance without any warning, frozen or not."""
        self._in_life_cycle = True
        self.frozen = False
        self.processes.kill()
        return await self.processes.wait()

    def _line(self, line: str) -> None:
        self._last_line = readable(line).strip().rpartition("\n")[2] or self._last_line
        self._on_line(line)


async def _is_healthy(client: httpx.AsyncClient, port: int) -> bool:
    try:
        response = await client.get(f"http://127.0.0.1:{port}{HEALTH_PATH}", timeout=1)
    except httpx.HTTPError:
        return False
    return response.is_success
