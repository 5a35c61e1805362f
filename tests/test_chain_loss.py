"""No service of a chain loses a span when all of them lose their CPU with the last response, and are killed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.chain import WHOLE, freezes, frozen, labels
from tests.project import CHAIN
from tests.traffic import BURST, PATIENT, SINGLE_REQUESTS, burst

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudrun import CloudRun

    from tests.conftest import ChainVariant
    from tests.journal import Journal

OPEN = {"access": "public", "ingress": "all"}


def kill_all(run: CloudRun) -> None:
    assert frozen(run), "somebody has CPU: nothing is proven"
    for service in CHAIN:
        run.kill(service)


@pytest.mark.parametrize("exporter", ["sidecar", pytest.param("direct", marks=pytest.mark.slow)])
def test_nothing_is_lost_when_all_are_killed_without_cpu(
    start: Callable[..., CloudRun],
    chain_variant: ChainVariant,
    otelcol: Path,
    monkeypatch: pytest.MonkeyPatch,
    exporter: str,
) -> None:
    monkeypatch.setenv("COLLECTOR_BINARY", str(otelcol))
    run = start(chain_variant(exporter=exporter), **PATIENT)
    before = freezes(run)
    trace_ids = []
    for _ in range(SINGLE_REQUESTS):
        reply = run.get("/items/1")
        trace_ids.append(reply.trace_id)
        assert frozen(run), "somebody has CPU: nothing is proven"
        assert labels(run.trace(reply.trace_id)) == WHOLE
    assert {service: count - before[service] for service, count in freezes(run).items()} == dict.fromkeys(
        CHAIN, SINGLE_REQUESTS
    )
    replies = burst(run, "/items/1")
    assert {reply.status for reply in replies} == {200}
    kill_all(run)
    trace_ids += [reply.trace_id for reply in replies]
    not_whole = [trace_id for trace_id in trace_ids if labels(run.trace(trace_id)) != WHOLE]
    assert not not_whole, f"{len(not_whole)} of {len(trace_ids)} traces are not whole"
    delivered = run.span_ids()
    assert (sum(delivered.values()), set(delivered.values())) == ((SINGLE_REQUESTS + BURST) * len(WHOLE), {1})


def test_a_chain_with_the_batch_processor_loses_every_span_of_every_service(
    start: Callable[..., CloudRun], chain_variant: ChainVariant, journal: Journal
) -> None:
    stock = chain_variant(
        apps=dict.fromkeys(CHAIN, "controls/stock"),
        services={"pricing": OPEN, "inventory": OPEN},
        environment=Path(sys.executable).parents[1],
    )
    run = start(stock, CONTROL="batch")
    for _ in range(SINGLE_REQUESTS):
        assert run.get("/items/1").status == 200
    kill_all(run)
    assert sum(journal.started().values()) == SINGLE_REQUESTS * len(CHAIN)
    assert sum(run.span_ids().values()) == 0
