"""`make dev`: all services behind their front ends, every trace as a waterfall, a restart at every change."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import httpx
from rich.text import Text
from watchfiles import awatch

from cloudrun.errors import CloudRunError, StartFailed
from cloudrun.expect import Expected, load
from cloudrun.log_lines import readable
from cloudrun.sampling import new_span_id, new_trace_id
from cloudrun.system import LogLine, System
from cloudrun.waterfall import waterfall

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

_WATCHED: Final = ("services", "libs", "collector", "topology.yaml")
_IGNORED: Final = {".venv", "__pycache__", "tests", ".pytest_cache", ".mypy_cache", ".ruff_cache"}
_SETTLED: Final = 0.3
"""Seconds without a new span after which a trace is shown."""
_TRACE_LIMIT: Final = 10.0
_REQUEST_LIMIT: Final = 30.0


async def once(project: Path, console: Console) -> None:
    """Start the system, send each request of expect.yaml, show its trace, end.

    Raises `CloudRunError` when a service does not start, a request fails or a trace does not arrive.
    """
    system = await _started(project, console)
    try:
        for request in load(project, system.topology.services):
            await _show(system, request, console)
        _say_proof(system, console)
    finally:
        await system.stop()


async def watch(project: Path, console: Console) -> None:
    """Run until interrupted: show each trace as it arrives, restart the services when a file changes."""
    changed = asyncio.Event()
    watching = asyncio.create_task(_tell_changes(project, changed))
    try:
        while True:
            changed.clear()  # before the files are read: what changes from here on leads to another restart
            await _run_until(changed, project, console)
            console.print("a file changed: restarting")
    finally:
        watching.cancel()


async def _run_until(changed: asyncio.Event, project: Path, console: Console) -> None:
    try:
        system = await _started(project, console)
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


async def _started(project: Path, console: Console) -> System:
    def show_line(line: LogLine) -> None:
        console.print(Text(f"{line.service} | {readable(line.text)}", style="dim"))

    system = System(project, on_line=show_line)
    names = ", ".join(system.topology.services)
    began = time.monotonic()
    with console.status(f"starting {names} …"):
        await system.start()
    took = time.monotonic() - began
    console.print(f"started {names} in {took:.1f} s; {_collector(system)}", soft_wrap=True)
    for name in system.topology.services:
        console.print(f"  {name}: {system.url(name)}")
    if system.topology.sampling.ratio == 0:
        console.print(Text("sampling.ratio is 0 in topology.yaml: no trace is kept", style="yellow"))
    return system


def _collector(system: System) -> str:
    if system.topology.direct:
        return f"they export to the {'Telemetry API' if system.topology.google else 'back end'} by themselves"
    binary = system.collector_binary
    return "the Telemetry API stands in for the collector" if binary is None else f"the collector is {binary}"


async def _show(system: System, expected: Expected, console: Console) -> None:
    ratio = system.topology.sampling.ratio
    trace_id = new_trace_id(ratio)
    console.print(f"\n{expected.method} {system.url(expected.service)}{expected.path}")
    async with httpx.AsyncClient(trust_env=False, timeout=_REQUEST_LIMIT) as client:
        try:
            response = await client.request(
                expected.method,
                system.url(expected.service) + expected.path,
                headers={"traceparent": f"00-{trace_id}-{new_span_id()}-00"},
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise StartFailed(f"{expected.request} was not answered: {error!r}") from error
    await system.all_logs()  # they are shown as they are read, so before the response
    console.print(f"{response.status_code} {response.text.strip()[:500]}\n", markup=False)
    if response.status_code != expected.status:
        raise StartFailed(f"{expected.request} was answered with {response.status_code}, expected {expected.status}")
    if ratio > 0:
        wanted = max(1, len(expected.spans))
        trace = await system.store.wait_for(trace_id, lambda found: len(found.own()) >= wanted, _TRACE_LIMIT)
        console.print(waterfall(trace))


def _say_proof(system: System, console: Console) -> None:
    without_cpu = [name for name in system.topology.services if system.instance(name).frozen]
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
            console.print(waterfall(system.store.trace(trace_id)))


async def _tell_changes(project: Path, changed: asyncio.Event) -> None:
    paths = [project / name for name in _WATCHED if (project / name).exists()]
    async for _ in awatch(*paths, watch_filter=lambda _, path: not _IGNORED & set(path.split("/"))):
        changed.set()
