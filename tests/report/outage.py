"""What a back end in trouble costs: how long responses wait, how long the end takes, which spans are lost."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from tests.observed import said_lost
from tests.test_outage import REQUESTS, TROUBLES
from tests.traffic import waits

if TYPE_CHECKING:
    from cloudrun import CloudRun

    from tests.journal import Journal

HEADER = ["the back end", "slowest, ms", "median, ms", "all waits, ms", "end after SIGTERM, s", "lost", "said"]
SLOW = "takes 500 ms"
REFUSES = "refuses connections"
BACK = "refuses connections, and comes back"
HTTP_ONLY = {name for name, trouble in TROUBLES.items() if "raw" in trouble}
CASES = [SLOW, REFUSES, BACK, *TROUBLES]


def measure(run: CloudRun, journal: Journal, case: str) -> list[str]:
    """Return the figures of one case."""
    if case in {REFUSES, BACK}:
        run.stop_back_end()
    else:
        run.back_end(**TROUBLES.get(case, {"delay": 0.5}))
    milliseconds = [1000 * each for each in waits(run, REQUESTS)]
    if case == BACK:
        run.resume_back_end()
        run.get("/slow?seconds=2")
    ended = run.terminate()
    assert ended.code == 0
    lost = sum((journal.started() - run.span_ids()).values())
    waited = (f"{max(milliseconds):.0f}", f"{median(milliseconds):.1f}", f"{sum(milliseconds):.0f}")
    return [*waited, f"{ended.seconds:.1f}", f"{lost}", f"{said_lost(run)}"]
