"""`make dev`: all services behind their front ends, every trace as a waterfall, a restart at every change."""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import httpx
from rich.text import Text
from watchfiles import awatch

from cloudrun.errors import CloudRunError, StartFailed, Timeout
from cloudrun.expect import Expected, load
from cloudrun.identity import INVOKER
from cloudrun.instances import MOST
from cloudrun.log_lines import parsed, readable
from cloudrun.sampling import new_span_id, new_trace_id
from cloudrun.system import LogLine, System
from cloudrun.waterfall import log_lines, waterfall

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rich.console import Console

    from cloudrun.topology import Service

_WATCHED: Final = ("services", "libs", "collector", "topology.yaml")
_IGNORED: Final = {".venv", "__pycache__", "tests", ".pytest_cache", ".mypy_cache", ".ruff_cache"}
_SETTLED: Final = 0.3
"""Seconds without a new span after which a trace is shown."""
_TRACE_LIMIT: Final = 10.0
_FAILED_LIMIT: Final = 1.0
"""Seconds to wait for the trace of a request that failed: it may never be whole."""
_REQUEST_LIMIT: Final = 30.0
_SLOW_SECONDS: Final = 2.0
_TOKEN_SECONDS: Final = 12 * 3600.0


def slow_services(text: str) -> dict[str, float]:
    """Read `NAME` or `NAME:SECONDS`. Raises `CloudRunError`."""
    name, colon, seconds = text.partition(":")
    try:
        delay = float(seconds) if colon else _SLOW_SECONDS
    except ValueError:
        delay = math.nan
    if not 0 <= delay <= _REQUEST_LIMIT:
        raise CloudRunError(f"SLOW={text}: use NAME:SECONDS with 0 to {_REQUEST_LIMIT:.0f} seconds, such as {name}:2")
    return {name: delay}


async def once(project: Path, console: Console, slow: Mapping[str, float]) -> None:
    """Start the system, send each request of expect.yaml, show its trace, end; `slow`: see `System`.

    Raises `CloudRunError` when a service does not start, a request fails or a trace does not arrive; where a service is
    slow, requests may fail.
    """
    system = await _started(project, console, slow, hold=True)
    try:
        for request in load(project, system.topology.services):
            await _show(system, request, console)
        _say_proof(system, console)
    finally:
        await system.stop()


async def watch(project: Path, console: Console, slow: Mapping[str, float]) -> None:
    """Run until interrupted: show each trace as it arrives, restart the services when a file changes."""
    changed = asyncio.Event()
    watching = asyncio.create_task(_tell_changes(project, changed))
    try:
        while True:
            changed.clear()  # before the files are read: what changes from here on leads to another restart
            await _run_until(changed, project, console, slow)
            console.print("a file changed: restarting")
    finally:
        watching.cancel()


async def _run_until(changed: asyncio.Event, project: Path, console: Console, slow: Mapping[str, float]) -> None:
    try:
        system = await _started(project, console, slow)
    except CloudRunError as error:
        console.print(Text(str(error), style="red"))
        console.print("waiting for a change …")
        await changed.wait()
        return
    console.print(
        "press Ctrl-C to end; a change in services/, libs/, collector/ or topology.yaml restarts the services"
    )
    showing = asyncio.create_task(_show_all(system, console))
    try:
        await changed.wait()
    finally:
        showing.cancel()
        await system.stop()


async def _started(project: Path, console: Console, slow: Mapping[str, float], *, hold: bool = False) -> System:
    """Return the running system; `hold`: log lines of a trace are shown with it only."""

    def show_line(line: LogLine) -> None:
        entry = parsed(line.text) if hold else None
        if entry is None or entry.trace_id is None:
            console.print(Text(f"{line.service} | {readable(line.text)}", style="dim"))

    system = System(project, on_line=show_line, slow=slow)
    names = ", ".join(system.topology.services)
    began = time.monotonic()
    with console.status(f"starting {names} …"):
        await system.start()
    took = time.monotonic() - began
    console.print(f"started {names} in {took:.1f} s; {_collector(system)}", soft_wrap=True)
    for service in system.topology.services.values():
        console.print(f"  {service.name}: {system.url(service.name)}{_door(service)}", soft_wrap=True)
    _say_limits(system, console)
    if system.topology.sampling.ratio == 0:
        console.print(Text("sampling.ratio is 0 in topology.yaml: no trace is kept", style="yellow"))
    return system


def _door(service: Service) -> str:
    """Return what a caller meets at the service's address."""
    if service.ingress == "internal":
        return " (internal: 404 from outside)"
    return " (private: 401 without an ID token)" if service.access == "private" else ""


def _say_limits(system: System, console: Console) -> None:
    for name, stub in system.slow.items():
        console.print(f"{name} calls a service that answers after {stub.delay:g} s, at SLOW_URL and UPSTREAM_URL")
    for service in system.topology.services.values():
        if service.max_instances > MOST:
            console.print(f"{service.name} has max_instances {service.max_instances}: this machine runs {MOST} at most")
        if (service.access, service.ingress) == ("private", "all"):
            token = system.id_tokens.sign(INVOKER, system.url(service.name), lifetime=_TOKEN_SECONDS)
            console.print(
                f"call {service.name} for {_TOKEN_SECONDS / 3600:.0f} hours with -H 'authorization: Bearer {token}'",
                soft_wrap=True,
            )


def _collector(system: System) -> str:
    if system.topology.direct:
        return f"they export to the {'Telemetry API' if system.topology.google else 'back end'} by themselves"
    binary = system.collector_binary
    return "the Telemetry API stands in for the collector" if binary is None else f"the collector is {binary}"


async def _show(system: System, expected: Expected, console: Console) -> None:
    ratio = system.topology.sampling.ratio
    trace_id = new_trace_id(ratio)
    url, credentials = system.reach(expected.service, system.usual_caller(expected.service))
    console.print(f"\n{expected.method} {url}{expected.path}")
    trusted = ssl.create_default_context(cafile=str(system.authority.bundle))
    async with httpx.AsyncClient(trust_env=False, timeout=2 * _REQUEST_LIMIT, verify=trusted) as client:
        try:
            response = await client.request(
                expected.method,
                url + expected.path,
                headers={**credentials, "traceparent": f"00-{trace_id}-{new_span_id()}-00"},
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise StartFailed(f"{expected.request} was not answered: {error!r}") from error
    console.print(f"{response.status_code} {response.text.strip()[:500]}\n", markup=False, soft_wrap=True)
    as_expected = response.status_code == expected.status
    if ratio > 0:
        limit = _TRACE_LIMIT if as_expected or system.slow else _FAILED_LIMIT
        try:
            await system.store.wait_for(trace_id, expected.is_in, limit)
        except Timeout:
            if as_expected:
                raise
    await system.all_logs()
    _print_trace(system, trace_id, console)
    if not (as_expected or system.slow):
        raise StartFailed(f"{expected.request} was answered with {response.status_code}, expected {expected.status}")


def _print_trace(system: System, trace_id: str, console: Console) -> None:
    """Show what has arrived of a trace, and the log lines that name it."""
    trace = system.store.trace(trace_id)
    if trace.spans:
        console.print(waterfall(trace, system.names(), columns=console.width))
    lines = log_lines(trace, ((line.service, line.text) for line in system.logs))
    if lines is not None:
        console.print(lines)


def _say_proof(system: System, console: Console) -> None:
    without_cpu = [
        name for name, instances in system.instances.items() if all(instance.frozen for instance in instances.all)
    ]
    spans = sum(system.store.span_ids().values())
    console.print(f"\nspans stored: {spans}; instances without CPU at this moment: {', '.join(without_cpu) or 'none'}")


async def _show_all(system: System, console: Console) -> None:
    shown: set[str] = set()
    while True:
        await system.store.changed()
        with suppress(TimeoutError):
            while True:
                await asyncio.wait_for(system.store.changed(), _SETTLED)
        for trace_id in sorted(
            system.store.trace_ids() - shown, key=lambda key: system.store.trace(key).spans[0].start
        ):
            shown.add(trace_id)
            console.print()
            await system.all_logs()
            _print_trace(system, trace_id, console)


async def _tell_changes(project: Path, changed: asyncio.Event) -> None:
    paths = [project / name for name in _WATCHED if (project / name).exists()]
    async for _ in awatch(*paths, watch_filter=lambda _, path: not _IGNORED & set(path.split("/"))):
        changed.set()
