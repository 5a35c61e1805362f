"""Delivers ended spans while the instance has a CPU: the flush-on-idle rule.

Under request-based billing Cloud Run takes the CPU away once the last active request is answered
(https://cloud.google.com/run/docs/configuring/billing-settings), so a span that is still queued then waits for the
next request, or is lost with the instance. The response whose end would leave the instance idle is therefore held,
before its last byte, until every queued span is acknowledged.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace import SpanProcessor

from tracerun.breaker import Breaker
from tracerun.export_thread import ExportThread
from tracerun.quiet import Tally
from tracerun.span_queue import BATCH, SpanQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

    from tracerun.otlp import Answer, Export

_log = logging.getLogger(__name__)

TICK: Final = 1.0
"""Seconds that a span waits at most in a busy instance."""
PACE: Final = 4
"""After an export that a newcomer interrupted, the next waits this many times that export's duration."""
MAX_PACE: Final = 0.02
"""Seconds: the longest such wait. A lone client never meets it; a busy instance exports seldom."""
BACKGROUND_PACE: Final = 0.2
"""The same where no response ever waits: a busy instance exports no more often."""
FIRST_RETRY: Final = 0.05
"""Seconds before the one retry that held responses still wait for."""
MAX_BACKOFF: Final = 15.0
"""Seconds between exports at most while the back end fails; it may ask for more by Retry-After."""
DRAIN_BACKOFF: Final = 0.25
"""The same at shutdown, when there is no later."""
LAST_CALL: Final = 1.0
"""Seconds that `drain` waits for requests that the server has cancelled."""
_TURNS: Final = 2
"""Turns of the event loop in which requests that are already in the socket buffers can arrive or start."""


class FlushProcessor(SpanProcessor):
    """Exports in one thread, one batch at a time, and holds the last response while spans are on their way.

    The methods about requests belong to the event loop's thread; spans may end in any thread. Nothing raises, nothing
    blocks; what is lost is counted in `lost` and logged as a WARNING at most once a minute.
    """

    def __init__(self, make_export: Callable[[], Export], *, on_idle: bool, deadline: float) -> None:
        """`on_idle`: hold the last response, `deadline` seconds at most. Otherwise no response waits."""
        self._exports = ExportThread(make_export)
        self._on_idle = on_idle
        self._deadline = deadline
        self._queue = SpanQueue()
        self._active = 0
        self._arrived = 0
        self._begun = 0
        self._looking_after_arrivals = False
        self._seen_request = False
        self._draining = False
        self._drained = False
        self._in_flight: list[ReadableSpan] = []
        self._waiters: list[asyncio.Future[bool]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        self._tick: asyncio.TimerHandle | None = None
        self._next_try: asyncio.TimerHandle | None = None
        self._started = 0.0
        self._woken = 0.0
        """When a request last found the instance idle with an export on its way, which had no CPU until then."""
        self._interrupted = False
        self._not_before = 0.0
        self._failures = 0
        self._breaker = Breaker()
        self.lost = Tally(_log, "%d spans were lost: the back end refused them or was too slow for the queue")
        self._orphans = Tally(
            _log,
            "%d spans started while no request was active: Cloud Run gives an idle instance no CPU, so they leave "
            "with the next request or at shutdown, and are lost if it is killed first (cure: billing: instance)",
        )

    # -- spans

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 (the SDK's signature)
        """Say so when work is done that has no CPU."""
        if self._active or not self._on_idle or not self._seen_request or self._draining:
            return
        if span.context.trace_flags.sampled:
            self._orphans.add(1)

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a sampled span."""
        if span.context is not None and span.context.trace_flags.sampled:
            self.deliver(span)

    def deliver(self, span: ReadableSpan) -> None:
        """Queue a span, sampled or not; after the end of `drain` it is counted as lost."""
        if self._drained or not self._queue.offer(span):
            self.lost.add(1)
            return
        if self._loop is None:
            return
        if threading.get_ident() == self._loop_thread:
            self._queued()
        else:
            with contextlib.suppress(RuntimeError):  # the loop has ended: force_flush or shutdown delivers
                self._loop.call_soon_threadsafe(self._queued)

    def _queued(self) -> None:
        if len(self._queue) >= BATCH and not self._backing_off():
            self._export()
        else:
            self._arm()

    def _arm(self) -> None:
        if self._tick is None and self._loop is not None:
            self._tick = self._loop.call_later(TICK, self._on_tick)

    def _on_tick(self) -> None:
        self._tick = None
        if not self._backing_off():
            self._export()

    # -- requests

    def listening(self) -> None:
        """Make the exporter now: the server listens, and start-up still has CPU."""
        self._bind()
        self._exports.start()
        self._export()  # what start-up has left

    def request_arrived(self) -> None:
        """Tell, if the server can, that a request is there that starts in the event loop's next turn.

        A server finds many requests at once and runs them one after the other: without this each of them but seems to
        be the last one.
        """
        if self._looking_after_arrivals:
            self._arrived += 1
        else:
            self._bind()
            self._arrived += 1
            self._look_after_arrivals()

    def _look_after_arrivals(self) -> None:
        if self._loop is not None:
            self._looking_after_arrivals = True
            self._loop.call_soon(self._loop.call_soon, self._write_off, self._arrived)

    def _write_off(self, arrived: int) -> None:
        """Expect no more that requests start which have arrived two turns ago."""
        self._looking_after_arrivals = False
        if self._begun < arrived:
            self._begun = arrived
            if self._is_idle() and self._ready():
                self._export()
        if self._begun < self._arrived:
            self._look_after_arrivals()

    def _is_idle(self) -> bool:
        return not self._active and self._begun >= self._arrived

    def request_started(self) -> None:
        """Count an active request; it takes over the duty to wait from those that are held."""
        if asyncio.get_running_loop() is not self._loop:
            self._bind()
        self._seen_request = True
        if self._in_flight and not self._active:
            self._woken = self._now()
        self._active += 1
        if self._begun < self._arrived:
            self._begun += 1
        if self._in_flight:
            self._interrupted = True
        if self._waiters:
            self._interrupted = True
            self._release()

    def request_ended(self, *, hold: bool = True) -> bool:
        """End an active request; tell whether its last byte must wait for `hold`.

        With `hold` false the response is over already (the client left): the export starts, nothing waits.
        """
        if asyncio.get_running_loop() is not self._loop:  # another server has taken over in this process
            return False
        if self._active:
            self._active -= 1
        if self._draining:
            self._release()
            return False
        if self._active or not (self._is_idle() and self._pending()):
            return False
        if hold and self._on_idle:
            return True
        if self._ready():
            self._export()
        return False

    async def hold(self) -> None:
        """Return when the last byte of the request that has just ended may leave."""
        if not self._in_flight and self._ready():
            for _ in range(_TURNS):
                await asyncio.sleep(0)
                if not (self._is_idle() and self._pending()):
                    return
        self._export_when_ready()
        if self._is_worth_waiting() and not await self._acknowledged(self._deadline):
            self._breaker.overdue()

    def _is_worth_waiting(self) -> bool:
        """Tell whether an answer may come in time: from an export that is on its way and young, or about to start."""
        if self._breaker.is_open:
            return False
        if self._in_flight:
            return self._now() - max(self._export_began(), self._woken) <= self._deadline
        return self._ready() or (self._failures <= 1 and self._not_before - self._now() < self._deadline)

    async def _acknowledged(self, seconds: float) -> bool:
        """Return True when there is nothing more to wait for, False after `seconds`."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiters.append(waiter)
        timer = loop.call_later(seconds, _resolve, waiter, False)  # noqa: FBT003 (the waiter's result)
        try:
            return await waiter
        finally:
            timer.cancel()
            with contextlib.suppress(ValueError):
                self._waiters.remove(waiter)

    def _release(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            _resolve(waiter, in_time=True)

    def _bind(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._active = self._arrived = self._begun = 0
        self._looking_after_arrivals = False
        self._waiters = []
        self._tick = self._next_try = None

    # -- exports

    def _pending(self) -> bool:
        return bool(self._queue or self._in_flight)

    def _now(self) -> float:
        return time.monotonic()

    def _export_began(self) -> float:
        """Return when the export that is on its way could begin: not before the exporter was made."""
        return max(self._started, self._exports.ready_since)

    def _ready(self) -> bool:
        return self._now() >= self._not_before

    def _backing_off(self) -> bool:
        return self._failures > 0 and not self._ready()

    def _export(self) -> None:
        if self._in_flight or not self._queue:
            return
        self._in_flight = self._queue.take()
        self._started = self._now()
        self._exports.submit(self._in_flight, self._done_in_thread)

    def _export_when_ready(self) -> None:
        if self._in_flight or self._next_try is not None or self._loop is None:
            return
        wait = self._not_before - self._now()
        if wait <= 0:
            self._export()
        else:
            self._next_try = self._loop.call_later(wait, self._try_again)

    def _try_again(self) -> None:
        self._next_try = None
        self._export()

    def _done_in_thread(self, answer: Answer) -> None:
        loop = self._loop
        try:
            if loop is not None:
                loop.call_soon_threadsafe(self._done, answer)
        except RuntimeError:  # the loop has ended: nobody else touches the state
            batch, self._in_flight = self._in_flight, []
            self._queue.put_back(answer.left_over(batch))
            self.lost.add(answer.lost)

    def _done(self, answer: Answer) -> None:
        batch, self._in_flight = self._in_flight, []
        now = self._now()
        self.lost.add(answer.lost)
        left_over = answer.left_over(batch)
        if left_over:
            self._queue.put_back(left_over)
            self._failed(now, answer.retry_after)
            return
        self._failures = 0
        duration = now - self._export_began()
        self._breaker.acknowledged(in_time=duration <= self._deadline)
        self._not_before = now + self._pause(duration) if self._interrupted else now
        self._interrupted = False
        if not self._queue:
            self._release()
        elif self._waiters or len(self._queue) >= BATCH or self._draining:
            self._export_when_ready()
        else:
            self._arm()

    def _pause(self, duration: float) -> float:
        return min(duration * PACE, MAX_PACE) if self._on_idle else BACKGROUND_PACE

    def _failed(self, now: float, retry_after: float) -> None:
        self._failures = min(self._failures + 1, 10)
        self._breaker.failed()
        pause = max(min(FIRST_RETRY * 4 ** (self._failures - 1), MAX_BACKOFF), retry_after)
        self._not_before = now + (min(pause, DRAIN_BACKOFF) if self._draining else pause)
        if self._breaker.is_open or pause > self._deadline:
            self._release()
        self._export_when_ready()

    # -- the end

    async def drain(self, seconds: float) -> None:
        """Let running requests end and deliver what is queued, within `seconds`; what is left then counts as lost.

        What ends later is lost too, and said so: there is nobody to deliver it any more.
        """
        self._draining = True
        self._bind()
        last_call = self._now() + LAST_CALL
        self._not_before = min(self._not_before, self._now() + DRAIN_BACKOFF)
        if self._next_try is not None:
            self._next_try.cancel()
            self._next_try = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._pending() or (self._active and self._now() < last_call):
                    self._export_when_ready()
                    await self._acknowledged(LAST_CALL if self._active else seconds)
        self._drained = True
        left = len(self._queue) + len(self._in_flight)
        if left:
            self.lost.add(left)
        self.lost.say()
        self._orphans.say()

    def force_flush(self, timeout_millis: int = 3000) -> bool:
        """Deliver what is queued from outside the event loop, blocking at most `timeout_millis` ms.

        On the event loop's own thread it starts the export and returns False at once, since waiting would stop it.
        """
        loop = self._loop
        if loop is not None and loop.is_running():
            if threading.get_ident() == self._loop_thread:
                self._export()
                return not self._pending()
            flushed = asyncio.run_coroutine_threadsafe(self._flushed(timeout_millis / 1000), loop)
            with contextlib.suppress(TimeoutError, concurrent.futures.CancelledError):
                flushed.result(timeout_millis / 1000)
            return not self._pending()
        end = self._now() + timeout_millis / 1000
        self._exports.wait_until_idle(timeout_millis / 1000)
        while self._queue and self._now() < end:
            batch = self._queue.take()
            answer = self._exports.export_here(batch)
            self.lost.add(answer.lost)
            left_over = answer.left_over(batch)
            if left_over:
                self._queue.put_back(left_over)
                return False
        return not self._pending()

    async def _flushed(self, seconds: float) -> None:
        if self._pending():
            self._export_when_ready()
            await self._acknowledged(seconds)

    def shutdown(self) -> None:
        """Deliver what is queued, as `force_flush` does."""
        self.force_flush()


def _resolve(waiter: asyncio.Future[bool], in_time: bool) -> None:
    if not waiter.done():
        waiter.set_result(in_time)
