"""Who waits for whom, and what is left of a request whose callee is too late."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.chain import WHOLE, frozen, labels, path_of, seen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from cloudrun import CloudRun
    from cloudrun.client import Reply

    from tests.conftest import ChainVariant

PATIENCE = 2.0
"""Seconds that `api` waits."""
NOTICED = 1.0
"""Seconds later by which everybody has noticed, on a busy machine too."""
TOO_LATE = 4
ALONE = f"/items/{TOO_LATE * 1000}"
"""Makes the app `late` work that long, without any call of its own."""
ERRORS_ONLY = {"OTEL_TRACES_SAMPLER_ARG": "0", "TRACERUN_KEEP_SLOWER_THAN_MS": "0"}
SEEN_BY_CALLERS = [(service, label.split()[0], "ERROR") for service, label in WHOLE[:-1]]


@pytest.fixture
def impatient(chain_variant: ChainVariant) -> Path:
    """The chain whose `api` waits `PATIENCE`; what is behind it would wait 5 s."""
    return chain_variant(timeout=PATIENCE)


@pytest.fixture
def busy(chain_variant: ChainVariant) -> Path:
    """The same; `inventory` works by itself."""
    return chain_variant(timeout=PATIENCE, apps={"inventory": "late"})


def warm_up(run: CloudRun) -> None:
    """Have ID tokens fetched and connections made."""
    assert run.get("/items/0").status == 200


def given_up(run: CloudRun, path: str) -> Reply:
    """Send a request whose callee is too late."""
    began = time.monotonic()
    reply = run.get(path)
    took = time.monotonic() - began
    assert (reply.status, reply.content.count(b"\n")) == (504, 0), reply.content
    assert 0.7 * PATIENCE < took < PATIENCE + NOTICED, f"it took {took:.2f} s"
    assert frozen(run), "somebody has CPU: nothing is proven"
    return reply


@pytest.mark.parametrize(
    "variables",
    [pytest.param({}, id="all kept", marks=pytest.mark.slow), pytest.param(ERRORS_ONLY, id="only errors kept")],
)
def test_everybody_stops_when_the_root_gives_up_and_the_path_is_whole(
    start: Callable[..., CloudRun], impatient: Path, variables: Mapping[str, str]
) -> None:
    run = start(impatient, slow={"inventory": 0.0}, **variables)
    warm_up(run)
    for _ in range(3):
        run.system.slow["inventory"].delay = TOO_LATE
        reply = given_up(run, "/items/1")
        trace = run.trace(reply.trace_id)
        assert labels(trace) == [*WHOLE, ("inventory", "CLIENT GET")]
        path = path_of(trace)
        assert {span.status for span in path} == {"ERROR"}
        assert path[-1].attributes["error.type"] == "httpx.ReadTimeout"
        ends = [span.end - path[0].start for span in path]
        assert ends == sorted(ends, reverse=True), "a callee was at work when its caller had gone"
        assert 0.7 * PATIENCE < ends[-1] / 1e9 < PATIENCE
        run.system.slow["inventory"].delay = 0.0
        assert run.get("/items/1").status == 200


@pytest.mark.slow
def test_of_a_callee_that_is_killed_at_work_nothing_is_left_and_its_callers_are_kept(
    start: Callable[..., CloudRun], busy: Path
) -> None:
    run = start(busy, **ERRORS_ONLY)
    warm_up(run)
    reply = given_up(run, ALONE)
    run.kill("inventory")
    assert seen(run.trace(reply.trace_id)) == SEEN_BY_CALLERS
    assert run.requests("inventory")[-1].status == 0, "it had answered: nothing is proven"


@pytest.mark.parametrize("slower_than", ["0", "1000"])
@pytest.mark.slow
def test_a_callee_that_ends_its_work_at_sigterm_decides_by_itself(
    start: Callable[..., CloudRun], busy: Path, slower_than: str
) -> None:
    run = start(busy, **{**ERRORS_ONLY, "TRACERUN_KEEP_SLOWER_THAN_MS": slower_than})
    warm_up(run)
    reply = given_up(run, ALONE)
    assert seen(run.trace(reply.trace_id)) == SEEN_BY_CALLERS
    assert run.terminate("inventory").code == 0
    own = [("inventory", "SERVER", "UNSET")] if slower_than != "0" else []
    trace = run.trace(reply.trace_id)
    assert seen(trace) == [*SEEN_BY_CALLERS, *own]
    assert len(path_of(trace)) == len(SEEN_BY_CALLERS) + len(own)


@pytest.mark.slow
def test_a_callee_that_ends_its_work_with_the_next_request_delivers_it_then(
    start: Callable[..., CloudRun], busy: Path
) -> None:
    run = start(busy)
    warm_up(run)
    reply = given_up(run, ALONE)
    time.sleep(TOO_LATE - PATIENCE)  # the end of its work, had it CPU
    assert len(run.trace(reply.trace_id).own()) == len(SEEN_BY_CALLERS), "it had CPU: nothing is proven"
    assert run.get("/items/500").status == 200
    trace = run.trace(reply.trace_id)
    assert labels(trace) == WHOLE
    late = path_of(trace)[-1]
    assert (late.end - late.start) / 1e9 > TOO_LATE
