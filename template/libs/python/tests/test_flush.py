from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value
from opentelemetry.sdk.trace import TracerProvider
from recorder import Recorder

from tracerun import flush as flush_module
from tracerun.flush import FlushProcessor
from tracerun.otlp import Outcome
from tracerun.span_queue import CAPACITY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest
    from opentelemetry.trace import Tracer

    from tracerun.otlp import Export

LONG = 5.0
"""Seconds that a test waits for what must happen."""
SHORT = 0.3
"""Seconds of a deadline that a test lets pass."""


class Service:
    """A processor and a tracer, as a server drives them."""

    def __init__(
        self, *, on_idle: bool = True, deadline: float = 10 * LONG, ready: threading.Event | None = None
    ) -> None:
        self.recorder = Recorder()

        def make() -> Export:
            assert ready is None or ready.wait(2 * LONG), "nobody lets the exporter be made"
            return self.recorder

        self.flush = FlushProcessor(make, on_idle=on_idle, deadline=deadline)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(self.flush)
        self.tracer: Tracer = provider.get_tracer("test")

    def span(self, name: str) -> None:
        self.tracer.start_span(name).end()

    async def request(self, name: str) -> None:
        self.flush.request_started()
        self.span(name)
        await end_request(self.flush)


async def end_request(flush: FlushProcessor, *, hold: bool = True) -> None:
    if flush.request_ended(hold=hold):
        await flush.hold()


async def turns() -> None:
    """Let whatever can go on without waiting go on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not condition():  # noqa: ASYNC110 (what is awaited happens in another thread)
            await asyncio.sleep(0)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(4 * LONG):
            await test()

    asyncio.run(limited())


def test_the_last_response_waits_until_its_span_is_acknowledged() -> None:
    async def test() -> None:
        service = Service()
        service.recorder.hold()
        response = asyncio.create_task(service.request("a"))
        await until(service.recorder.began.is_set)
        assert not response.done()
        service.recorder.release()
        await response
        assert service.recorder.names == ["a"]

    run(test)


def test_a_response_with_nothing_to_deliver_does_not_wait() -> None:
    async def test() -> None:
        service = Service()
        service.flush.request_started()
        await end_request(service.flush)
        assert service.recorder.batches == []

    run(test)


def test_of_requests_that_are_found_at_once_only_the_last_waits() -> None:
    async def test() -> None:
        service = Service()
        flush = service.flush
        flush.request_arrived()
        flush.request_arrived()
        flush.request_started()
        service.span("first")
        assert not flush.request_ended()
        flush.request_started()
        service.span("last")
        assert flush.request_ended()
        await flush.hold()
        assert service.recorder.batches == [2]

    run(test)


def test_a_request_that_arrives_but_never_starts_keeps_no_span_from_leaving() -> None:
    async def test() -> None:
        service = Service()
        flush = service.flush
        flush.request_started()
        service.span("a")
        flush.request_arrived()
        flush.request_arrived()
        assert not flush.request_ended()
        await until(lambda: service.recorder.names == ["a"])
        await service.request("b")
        assert service.recorder.names == ["a", "b"]

    run(test)


def test_a_newcomer_frees_the_waiting_response_and_takes_its_duty_over() -> None:
    async def test() -> None:
        service = Service()
        service.recorder.hold()
        first = asyncio.create_task(service.request("first"))
        await until(service.recorder.began.is_set)
        service.flush.request_started()
        await asyncio.wait_for(first, LONG)
        assert service.recorder.names == []
        service.span("second")
        second = asyncio.create_task(end_request(service.flush))
        await asyncio.sleep(0)
        assert not second.done()
        service.recorder.release()
        await second
        assert service.recorder.names == ["first", "second"]

    run(test)


def test_a_response_waits_no_longer_than_the_deadline() -> None:
    async def test() -> None:
        service = Service(deadline=0.05)
        service.recorder.hold()
        await asyncio.wait_for(service.request("a"), LONG)
        assert service.recorder.names == []
        service.recorder.release()
        await service.flush.drain(LONG)
        assert service.recorder.names == ["a"]

    run(test)


def test_a_response_waits_for_an_export_that_had_no_cpu_while_the_instance_was_idle() -> None:
    async def test() -> None:
        service = Service(deadline=SHORT)
        service.recorder.hold()
        await service.request("a")
        assert service.recorder.names == []
        second = asyncio.create_task(service.request("b"))
        await turns()
        assert not second.done()
        service.recorder.release()
        await second
        assert service.recorder.names == ["a", "b"]

    run(test)


def test_a_response_waits_for_an_exporter_that_is_not_made_yet() -> None:
    async def test() -> None:
        ready = threading.Event()
        service = Service(deadline=SHORT, ready=ready)
        service.flush.request_started()
        service.span("a")
        service.flush.force_flush()
        await asyncio.sleep(2 * SHORT)
        last = asyncio.create_task(end_request(service.flush))
        await turns()
        assert not last.done()
        ready.set()
        await last
        assert service.recorder.names == ["a"]

    run(test)


def test_background_never_makes_a_response_wait() -> None:
    async def test() -> None:
        service = Service(on_idle=False)
        service.recorder.hold()
        await asyncio.wait_for(service.request("a"), LONG)
        service.recorder.release()
        await service.flush.drain(LONG)
        assert service.recorder.names == ["a"]

    run(test)


def test_a_busy_instance_exports_seldom_in_the_background_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flush_module, "PACE", 1_000_000)
    monkeypatch.setattr(flush_module, "MAX_PACE", 4 * LONG)
    monkeypatch.setattr(flush_module, "BACKGROUND_PACE", 4 * LONG)

    async def test() -> None:
        service = Service(on_idle=False)
        service.recorder.hold()
        await service.request("first")
        await until(service.recorder.began.is_set)
        await service.request("during its export")
        service.recorder.release()
        await until(lambda: service.recorder.names == ["first"])
        for _ in range(5):
            await service.request("later")
            await asyncio.sleep(0.005)  # an export would have time to happen
        assert len(service.recorder.batches) == 1
        await service.flush.drain(LONG)
        assert len(service.recorder.batches) == 2

    run(test)


def test_one_failed_export_is_tried_again_while_the_response_waits() -> None:
    async def test() -> None:
        service = Service()
        service.recorder.outcomes.append(Outcome.FAILED)
        await service.request("a")
        assert service.recorder.names == ["a"]
        assert service.recorder.batches == [1, 1]

    run(test)


def test_while_the_back_end_fails_no_response_waits_and_nothing_is_dropped() -> None:
    async def test() -> None:
        service = Service()
        service.recorder.outcomes.extend([Outcome.FAILED] * 3)
        await asyncio.wait_for(service.request("a"), LONG)
        service.recorder.hold()
        for _ in range(100):
            await asyncio.wait_for(service.request("b"), LONG)
        service.recorder.release()
        await service.flush.drain(LONG)
        assert sorted(service.recorder.names) == ["a"] + ["b"] * 100
        assert service.flush.lost.total == 0

    run(test)


def test_spans_that_the_back_end_refuses_are_counted_and_do_not_block_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        service = Service()
        service.recorder.outcomes.append(Outcome.REFUSED)
        await service.request("a")
        await service.request("b")
        assert service.recorder.names == ["b"]
        assert service.flush.lost.total == 1

    run(test)
    assert ["1 spans were lost" in record.getMessage() for record in caplog.records] == [True]


def test_a_full_queue_counts_what_it_loses_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    service = Service()
    for _ in range(CAPACITY + 7):
        service.span("s")
    assert service.flush.lost.total == 7
    assert len([record for record in caplog.records if "lost" in record.getMessage()]) == 1


def test_drain_gives_up_in_time_and_counts_what_is_left(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        service = Service(deadline=0.01)
        service.recorder.outcomes.extend([Outcome.FAILED] * 1000)
        await service.request("a")
        await asyncio.wait_for(service.flush.drain(0.3), LONG)
        assert service.flush.lost.total == 1

    run(test)
    assert "1 spans were lost" in caplog.text


def test_spans_that_end_in_other_threads_are_delivered_too() -> None:
    async def test() -> None:
        service = Service()
        service.flush.request_started()
        await asyncio.gather(*(asyncio.to_thread(service.span, "thread") for _ in range(50)))
        await end_request(service.flush)
        assert service.recorder.names == ["thread"] * 50

    run(test)


def test_a_busy_instance_delivers_in_the_background() -> None:
    async def test() -> None:
        service = Service()
        service.flush.request_started()
        service.span("long request")
        await until(lambda: service.recorder.names == ["long request"])

    run(test)


def test_work_after_the_last_response_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        service = Service()
        service.span("start-up")
        await service.request("a")
        assert not caplog.records
        service.span("background task")
        service.span("background task")
        await service.flush.drain(LONG)
        assert service.recorder.names == ["start-up", "a", "background task", "background task"]

    run(test)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2, said
    assert all("started while no request was active" in line for line in said)


def test_a_response_that_is_over_already_starts_the_export_and_does_not_wait() -> None:
    async def test() -> None:
        service = Service()
        service.recorder.hold()
        service.flush.request_started()
        service.span("a")
        await asyncio.wait_for(end_request(service.flush, hold=False), LONG)
        await until(service.recorder.began.is_set)
        service.recorder.release()
        await service.flush.drain(LONG)

    run(test)


def test_flush_from_outside_of_any_event_loop_delivers() -> None:
    service = Service()
    service.span("script")
    assert service.flush.force_flush()
    assert service.recorder.names == ["script"]


def test_flush_from_another_thread_waits_for_the_event_loop_to_deliver() -> None:
    async def test() -> None:
        service = Service()
        service.flush.request_started()
        service.span("a")
        assert await asyncio.to_thread(service.flush.force_flush)
        assert service.recorder.names == ["a"]

    run(test)


def test_unsampled_spans_are_not_exported() -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF  # noqa: PLC0415

    recorder = Recorder()
    flush = FlushProcessor(lambda: recorder, on_idle=True, deadline=LONG)
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(flush)
    provider.get_tracer("test").start_span("a").end()
    assert flush.force_flush()
    assert recorder.batches == []


def test_only_one_thread_exports() -> None:
    async def test() -> None:
        service = Service()
        for _ in range(20):
            await service.request("a")
        exporting = [thread for thread in threading.enumerate() if thread.name == "tracerun-export"]
        assert len([thread for thread in exporting if thread.is_alive()]) >= 1
        assert service.recorder.batches == [1] * 20

    run(test)


def test_a_span_that_ends_during_an_export_leaves_within_the_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flush_module, "TICK", 0.05)

    async def test() -> None:
        service = Service()
        service.flush.request_started()
        service.recorder.hold()
        service.span("first")
        await until(service.recorder.began.is_set)
        service.span("second")
        await asyncio.sleep(0.1)  # the tick passes while the export is on its way
        service.recorder.release()
        await until(lambda: service.recorder.names == ["first", "second"])

    run(test)


def test_spans_of_start_up_leave_when_the_server_listens() -> None:
    async def test() -> None:
        service = Service()
        service.span("start-up")
        service.flush.listening()
        await until(lambda: service.recorder.names == ["start-up"])

    run(test)


def test_an_event_loop_that_ended_during_an_export_holds_nobody_up() -> None:
    service = Service(deadline=0.05)
    service.recorder.hold()

    asyncio.run(service.request("old loop"))
    service.recorder.release()

    async def test() -> None:
        service.flush.request_started()
        await asyncio.wait_for(end_request(service.flush), LONG)
        await service.request("new loop")
        await service.flush.drain(LONG)
        assert sorted(service.recorder.names) == ["new loop", "old loop"]

    run(test)


def test_drain_lets_running_requests_end_and_counts_what_ends_later(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        service = Service()
        service.flush.request_started()
        draining = asyncio.create_task(service.flush.drain(LONG))
        await asyncio.sleep(0)
        service.span("of a running request")
        assert not draining.done()
        await end_request(service.flush)
        await asyncio.wait_for(draining, LONG)
        assert service.recorder.names == ["of a running request"]
        service.span("too late")
        assert service.flush.lost.total == 1

    run(test)
    assert "1 spans were lost" in caplog.text


def test_a_flush_leaves_the_callers_context_alone() -> None:
    service = Service()
    service.span("a")
    service.flush.force_flush()
    assert get_value(_SUPPRESS_INSTRUMENTATION_KEY) is None
