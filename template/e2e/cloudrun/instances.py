"""The instances of one service: as many as its concurrency asks for.

Not imitated: scaling by CPU, min_instances, and scaling in, which happens only when a test ends an instance. One that
has ended is not replaced by itself either: tests say when.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from statistics import fmean
from typing import TYPE_CHECKING, Final

from cloudrun.access import Refusal
from cloudrun.errors import CloudRunError
from cloudrun.rules import CONCURRENCY, SCALE_OUT, imitates

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudrun.instance import Instance
    from cloudrun.topology import Service

MOST: Final = 10
"""Instances of a service on this machine, whatever its max_instances."""
_TOO_MANY: Final = 429
_UNAVAILABLE: Final = 503
_START_UPS: Final = 3.5


@imitates(CONCURRENCY, SCALE_OUT)
class Instances:
    """Gives each request an instance."""

    def __init__(self, service: Service, create: Callable[[], Instance], on_failure: Callable[[str], None]) -> None:
        """`create` makes an instance that is not started yet; `on_failure` hears of those that do not start."""
        self._service = service
        self._create = create
        self._on_failure = on_failure
        self.line: deque[asyncio.Future[Instance]] = deque()
        """Requests that wait for an instance."""
        self._starting = 0
        self._start_ups: list[float] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.most = min(service.max_instances, MOST)
        self.shortest_wait = 10.0
        """Seconds that a request waits for an instance at least."""
        self.all: list[Instance] = []
        """In the order of their start; one that has ended stays until the next starts."""

    async def start(self) -> Instance:
        """Start another instance. Raises `CloudRunError`."""
        return await self._started(self._created())

    def _created(self) -> Instance:
        instance = self._create()
        self.all = [*(other for other in self.all if not other.has_ended), instance]
        self._starting += 1
        return instance

    async def _started(self, instance: Instance) -> Instance:
        began = time.monotonic()
        try:
            await instance.start()
        except CloudRunError:
            self.all.remove(instance)
            raise
        finally:
            self._starting -= 1
        self._start_ups.append(time.monotonic() - began)
        while self.line and self._has_room(instance):
            self._hand_over(instance)
        return instance

    async def stop(self) -> None:
        """Kill all instances."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for instance in self.all:
            if instance.is_running:
                await instance.kill()
        self.all.clear()

    async def take(self) -> Instance | Refusal:
        """Return the instance that has the next request from now on; `give_back` ends the request."""
        serving = [instance for instance in self.all if instance.takes_requests]
        free = next(filter(self._has_room, serving), None)
        if free is None and not serving and not self._starting:
            if not self.all:
                return Refusal(_UNAVAILABLE, f"{self._service.name} has no instance")
            free = self.all[-1]  # it has ended: who connects to it finds out
        if free is None:
            return await self._wait_in_line()
        free.begin_request()
        return free

    def give_back(self, instance: Instance) -> None:
        """End a request; the first in line gets its place."""
        if self.line and instance.takes_requests and instance.active <= self._service.concurrency:
            self._hand_over(instance)
        instance.end_request()

    async def _wait_in_line(self) -> Instance | Refusal:
        waiting = asyncio.get_running_loop().create_future()
        self.line.append(waiting)
        self._scale_out()
        limit = max(self.shortest_wait, _START_UPS * fmean(self._start_ups or [0.0]))
        await asyncio.wait([waiting], timeout=limit)
        if waiting.done():
            instance: Instance = waiting.result()
            return instance
        self.line.remove(waiting)
        reason = f"no instance of {self._service.name} became free within {limit:.0f} s: {self._at_most()}"
        return Refusal(_TOO_MANY, reason)

    def _at_most(self) -> str:
        bound = f"; this machine runs {MOST} at most" if self._service.max_instances > MOST else ""
        return f"max_instances is {self._service.max_instances}, concurrency {self._service.concurrency}{bound}"

    def _scale_out(self) -> None:
        """Start an instance if those that are starting are too few for the line."""
        running = sum(instance.takes_requests for instance in self.all) + self._starting
        if len(self.line) > self._starting * self._service.concurrency and running < self.most:
            task = asyncio.create_task(self._start_by_itself(self._created()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _start_by_itself(self, instance: Instance) -> None:
        try:
            await self._started(instance)
        except CloudRunError as error:
            self._on_failure(str(error))

    def _hand_over(self, instance: Instance) -> None:
        instance.begin_request()
        self.line.popleft().set_result(instance)

    def _has_room(self, instance: Instance) -> bool:
        return instance.takes_requests and instance.active < self._service.concurrency
