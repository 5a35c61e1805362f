"""Spans started against spans stored, read while no process of the instance can run any more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.test_loss import SLOW
from tests.traffic import BURST, SINGLE_REQUESTS, burst

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudrun import CloudRun

    from tests.journal import Journal

HEADER = ["case", "started", "lost", "twice"]
LATER = 3.0
"""Seconds: under instance billing spans leave each second."""


def single(run: CloudRun) -> None:
    for _ in range(SINGLE_REQUESTS):
        run.get("/plain")


def slow_burst(run: CloudRun) -> None:
    run.back_end(delay=SLOW)
    burst(run)


def one(run: CloudRun) -> None:
    run.get("/plain")


def killed(run: CloudRun, journal: Journal) -> None:
    """End it without warning: at once where it has no CPU, else once the next second's export is over."""
    if run.system.topology.billing == "request":
        assert run.instance().frozen, "it still has CPU: nothing is proven"
    else:
        end = time.monotonic() + LATER
        while time.monotonic() < end and run.span_ids() != journal.started():
            time.sleep(0.1)
    run.kill()


def terminated(run: CloudRun, _journal: Journal) -> None:
    assert run.terminate().code == 0


CASES: dict[str, tuple[Callable[[CloudRun], object], Callable[[CloudRun, Journal], None]]] = {
    f"{SINGLE_REQUESTS} single requests, killed": (single, killed),
    f"a burst of {BURST}, killed": (burst, killed),
    f"a burst of {BURST}, back end {SLOW * 1000:.0f} ms slow, killed": (slow_burst, killed),
    "one request, SIGTERM at once": (one, terminated),
    f"a burst of {BURST}, SIGTERM at once": (burst, terminated),
}
"""What is sent, and how the instance ends."""


def measure(run: CloudRun, journal: Journal, case: str) -> list[str]:
    """Return the figures of one case. Raises `AssertionError` where it would prove nothing."""
    send, end = CASES[case]
    send(run)
    end(run, journal)
    started, stored = journal.started(), run.span_ids()
    assert started, "no span was started: nothing is proven"
    lost, twice = started - stored, stored - started
    return [f"{sum(started.values())}", f"{sum(lost.values())}", f"{sum(twice.values())}"]
