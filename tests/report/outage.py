"""What a back end in trouble costs: how long responses wait, how long the end takes, which spans are lost."""

from __future__ import annotations

import re
import time
from statistics import median
from typing import TYPE_CHECKING

from tests.test_outage import REQUESTS, TROUBLES

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
    waits = []
    for _ in range(REQUESTS):
        began = time.monotonic()
        assert run.get("/plain").status == 200
        waits.append(1000 * (time.monotonic() - began))
    if case == BACK:
        run.resume_back_end()
        run.get("/slow?seconds=2")
    ended = run.terminate()
    assert ended.code == 0
    lost = sum((journal.started() - run.span_ids()).values())
    said = sum(int(found[1]) for line in run.logs() if (found := re.search(r"(\d+) spans were lost", line)))
    figures = (f"{max(waits):.0f}", f"{median(waits):.1f}", f"{sum(waits):.0f}", f"{ended.seconds:.1f}", lost, said)
    return [*map(str, figures)]
