from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, Status, StatusCode
from recorder import Recorder

from tracerun import keep
from tracerun.flush import FlushProcessor
from tracerun.keep import KeepProcessor
from tracerun.sampling import RatioSampler
from tracerun.token_bucket import TokenBucket


class Process:
    """A process at ratio 0 that keeps what is worth it."""

    def __init__(self, *, errors: bool = True, slower_than: float = 0, rate: float = 0, ratio: float = 0) -> None:
        self.recorder = Recorder()
        self.flush = FlushProcessor(lambda: self.recorder, on_idle=True, deadline=1)
        self.keep = KeepProcessor(self.flush, errors=errors, slower_than=slower_than, max_traces_per_second=rate)
        provider = TracerProvider(sampler=RatioSampler(ratio, rate, record_rest=True), shutdown_on_exit=False)
        provider.add_span_processor(self.keep)
        self.tracer = provider.get_tracer("test")

    def start(self, name: str, parent: Span | None = None) -> Span:
        context = trace.set_span_in_context(parent) if parent else Context()
        return self.tracer.start_span(name, context)

    def exported(self) -> list[str]:
        self.keep.force_flush()
        return self.recorder.names


def fail(span: Span) -> None:
    span.set_status(Status(StatusCode.ERROR))
    span.end()


def test_nothing_is_kept_where_nothing_failed() -> None:
    process = Process()
    root = process.start("root")
    process.start("child", root).end()
    root.end()
    assert process.exported() == []


@pytest.mark.parametrize("failing", ["root", "child", "grandchild"])
def test_one_failure_keeps_all_spans_of_the_trace(failing: str) -> None:
    process = Process()
    spans = {"root": process.start("root")}
    spans["child"] = process.start("child", spans["root"])
    spans["grandchild"] = process.start("grandchild", spans["child"])
    for name in ("grandchild", "child", "root"):
        fail(spans[name]) if name == failing else spans[name].end()
    assert process.exported() == ["grandchild", "child", "root"]


def test_two_requests_of_one_trace_are_decided_apart() -> None:
    process = Process()
    remote = trace.NonRecordingSpan(trace.SpanContext(1, 1, is_remote=True))
    good, bad = process.start("good", remote), process.start("bad", remote)
    process.start("child of good", good).end()
    process.start("child of bad", bad).end()
    fail(bad)
    good.end()
    assert process.exported() == ["child of bad", "bad"]


def test_a_span_that_ends_after_its_root_follows_the_decision() -> None:
    for failed in (True, False):
        process = Process()
        root = process.start("root")
        late = process.start("late", root)
        fail(root) if failed else root.end()
        late.end()
        assert process.exported() == (["root", "late"] if failed else [])


def test_slow_traces_are_kept() -> None:
    process = Process(errors=False, slower_than=1)
    for name, seconds in (("slow", 2), ("fast", 1)):
        span = process.tracer.start_span(name, trace.Context(), start_time=0)  # type: ignore[attr-defined]
        span.end(end_time=seconds * 1_000_000_000)
    failed = process.start("failed")
    fail(failed)
    assert process.exported() == ["slow"]


def test_forced_errors_are_bounded_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    process = Process(rate=5)
    for _ in range(100):
        fail(process.start("forced"))
    assert 5 <= len(process.exported()) <= 7
    assert "were not kept: more than max_traces_per_second" in caplog.text


def test_errors_have_a_bound_of_their_own() -> None:
    process = Process(rate=5, ratio=1)
    for _ in range(50):
        process.start("kept by the ratio").end()
    fail(process.start("failed"))
    names = process.exported()
    assert names.count("failed") == 1
    assert 5 <= names.count("kept by the ratio") <= 6


def test_what_is_held_is_bounded_and_what_was_not_held_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "MAX_HELD", 10)
    process = Process()
    root = process.start("root")
    for _ in range(25):
        process.start("child", root).end()
    fail(root)
    assert len(process.exported()) == 11
    assert process.flush.lost.total == 15
    again = process.start("again")
    process.start("child", again).end()
    fail(again)
    assert process.exported()[-2:] == ["child", "again"]


def test_open_spans_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "MAX_OPEN", 3)
    process = Process()
    spans = [process.start("span") for _ in range(10)]
    for span in spans:
        fail(span)
    assert len(process.exported()) == 3


def test_it_is_told_once_whether_a_trace_was_kept() -> None:
    process = Process()
    kept, dropped = process.start("kept"), process.start("dropped")
    fail(kept)
    dropped.end()
    ids = [span.get_span_context().span_id for span in (kept, dropped)]
    assert [process.keep.was_kept(span_id) for span_id in ids] == [True, False]
    assert not process.keep.was_kept(ids[0])


def test_a_bucket_refills_with_time() -> None:
    now = [0.0]
    bucket = TokenBucket(10, clock=lambda: now[0])
    assert sum(bucket.take() for _ in range(100)) == 10
    now[0] += 0.5
    assert sum(bucket.take() for _ in range(100)) == 5
    now[0] += 100
    assert sum(bucket.take() for _ in range(100)) == 10


def test_a_rate_of_zero_is_no_bound() -> None:
    bucket = TokenBucket(0)
    assert all(bucket.take() for _ in range(10_000))
