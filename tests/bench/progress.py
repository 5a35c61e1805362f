"""Says what is being measured, how far it is and how long it still takes."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.plan import Sample
    from tests.bench.steps import Step


def run(steps: Sequence[Step]) -> Iterator[Sample]:
    """Run `steps` and return their samples, numbered in the order of the steps, one line each on stderr."""
    total = sum(step.seconds for step in steps)
    planned = 0.0
    started = time.monotonic()
    for number, step in enumerate(steps, 1):
        pace = (time.monotonic() - started) / planned if planned else 1.0
        left = (total - planned) * pace
        sys.stderr.write(f"[{number}/{len(steps)}] {step.label}; {_duration(left)} left\n")
        sys.stderr.flush()
        for sample in step.run():
            yield {**sample, "number": number}
        planned += step.seconds


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
