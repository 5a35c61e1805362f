from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from spans import span

from tracerun.breaker import Breaker
from tracerun.otlp import MOST_PARTS, Answer, Outcome, saving_the_others

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan


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


@pytest.mark.parametrize("positions", [(0, 511), (10, 300), (3, 4), (255, 256)])
def test_two_spans_that_are_refused_cost_no_other(positions: tuple[int, int]) -> None:
    back_end = BackEnd()
    names = [f"good {number}" for number in range(512)]
    for position in positions:
        names[position] = "bad"
    answer = saving_the_others(back_end, [span(name) for name in names])
    assert answer == Answer(Outcome.DELIVERED, lost=2)
    assert sorted(back_end.stored) == sorted(set(names) - {"bad"})


def test_many_spans_that_are_refused_cost_not_the_half_without_any() -> None:
    back_end = BackEnd()
    spans = [span("bad" if number < 100 else f"good {number}") for number in range(512)]
    answer = saving_the_others(back_end, spans)
    assert answer.lost + len(back_end.stored) == 512
    assert len(back_end.stored) >= 256


def test_spans_of_a_part_that_fails_are_tried_again() -> None:
    spans = [span("a"), span("bad"), span("c"), span("d")]
    back_end = BackEnd()

    def failing_later(spans: Sequence[ReadableSpan]) -> Answer:
        return back_end(spans) if back_end.exports < 1 else Answer(Outcome.FAILED, retry_after=7)

    assert saving_the_others(failing_later, spans) == Answer(Outcome.DELIVERED, 7, 0, tuple(spans))
    assert not back_end.stored


def test_where_everything_is_refused_it_gives_up_soon() -> None:
    back_end = BackEnd()
    answer = saving_the_others(back_end, [span("bad")] * 512)
    assert answer == Answer(Outcome.REFUSED, lost=512)
    assert back_end.exports <= 1 + MOST_PARTS


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
