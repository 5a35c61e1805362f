from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext

from tracerun.breaker import Breaker
from tracerun.otlp import Answer, Outcome, saving_the_others

if TYPE_CHECKING:
    from collections.abc import Sequence


def span(name: str) -> ReadableSpan:
    return ReadableSpan(name, SpanContext(1, 1, is_remote=False))


class BackEnd:
    """Refuses every export with a span called bad."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.exports = 0

    def __call__(self, spans: Sequence[ReadableSpan]) -> Answer:
        self.exports += 1
        names = [span.name for span in spans]
        if "bad" in names:
            return Answer(Outcome.REFUSED, lost=len(spans))
        self.stored += names
        return Answer(Outcome.DELIVERED)


@pytest.mark.parametrize("position", [0, 1, 255, 511])
def test_one_span_that_is_refused_costs_no_other(position: int) -> None:
    back_end = BackEnd()
    names = [f"good {number}" for number in range(511)]
    names.insert(position, "bad")
    answer = saving_the_others(back_end, [span(name) for name in names])
    assert answer == Answer(Outcome.DELIVERED, lost=1)
    assert sorted(back_end.stored) == sorted(set(names) - {"bad"})
    assert back_end.exports < 30


def test_where_everything_is_refused_it_asks_no_more_than_three_times() -> None:
    back_end = BackEnd()
    answer = saving_the_others(back_end, [span("bad")] * 512)
    assert answer == Answer(Outcome.REFUSED, lost=512)
    assert back_end.exports == 3


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_two_failures_open_the_breaker_and_an_answer_in_time_closes_it() -> None:
    breaker = Breaker(Clock())
    breaker.failed()
    assert not breaker.is_open
    breaker.failed()
    assert breaker.is_open
    breaker.acknowledged(in_time=False)
    assert breaker.is_open
    breaker.acknowledged(in_time=True)
    assert not breaker.is_open


def test_three_waits_in_vain_open_it_and_after_a_pause_one_may_try() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(3):
        assert not breaker.is_open
        breaker.overdue()
    pauses = []
    for _ in range(6):
        opened = clock.now
        while breaker.is_open:
            clock.now += 0.25
        pauses.append(clock.now - opened)
        breaker.overdue()
    assert pauses == [1, 2, 4, 8, 15, 15]
